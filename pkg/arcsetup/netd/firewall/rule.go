// Package firewall puts accept rules for forwarded IPv4 packets into the kernel's nf_tables. It writes
// the rules as iptables-nft does, so that iptables and container engines can list, check and delete them.
// It talks netlink and runs no program. It must not know which role a link has, or who chose a subnet.
package firewall

import (
	"fmt"
	"net/netip"
)

// Rule accepts forwarded IPv4 packets from a link or, if link is empty, from a subnet. A guard accepts or drops all packets from
// links to a subnet, before they are routed.
type Rule struct {
	link        string // name; of a guard, the beginning of the names
	subnet      netip.Prefix
	to          bool // packets to the link or subnet instead
	established bool // only packets in conntrack state RELATED or ESTABLISHED
	guard, drop bool
}

// BridgeRules accept packets that come in from link, and packets of known connections that go out to it.
func BridgeRules(link string) []Rule {
	return []Rule{{link: link}, {link: link, to: true, established: true}}
}

// SandboxRules accept packets from subnet and to subnet.
func SandboxRules(subnet netip.Prefix) []Rule {
	return []Rule{{subnet: subnet.Masked()}, {subnet: subnet.Masked(), to: true}}
}

// IsolationRules accept packets from and to the address that every sandbox has inside, and keep the sandboxes in the subnet apart: over
// their links, which ArcBox's VMM calls vmtap and a number, they reach in it the gateway alone, which has the first address.
func IsolationRules(subnet netip.Prefix) []Rule {
	subnet = subnet.Masked()
	rules := SandboxRules(netip.MustParsePrefix("169.254.100.2/32"))
	if gateway := subnet.Addr().Next(); subnet.Contains(gateway) {
		rules = append(rules, Rule{link: "vmtap", subnet: netip.PrefixFrom(gateway, 32), guard: true})
	}
	return append(rules, Rule{link: "vmtap", subnet: subnet, guard: true, drop: true})
}

// check refuses a rule that would accept every packet, because the link name or the
// subnet is missing or the subnet is every address, and a subnet that is not IPv4.
func (r Rule) check() error {
	if (r.link == "" || r.guard) && (!r.subnet.Addr().Is4() || r.subnet.Bits() < 1) {
		return fmt.Errorf("rule %+v: neither a link name nor an IPv4 subnet", r)
	}
	return nil
}
