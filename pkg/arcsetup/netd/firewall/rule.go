// Package firewall puts accept rules for forwarded IPv4 packets into the kernel's nf_tables. It writes
// the rules as iptables-nft does, so that iptables and container engines can list, check and delete them.
// It talks netlink and runs no program. It must not know which role a link has, or who chose a subnet.
package firewall

import (
	"fmt"
	"net/netip"
)

// Rule accepts forwarded IPv4 packets from a link or, if link is empty, from a subnet.
type Rule struct {
	link        string // name
	subnet      netip.Prefix
	to          bool // packets to the link or subnet instead
	established bool // only packets in conntrack state RELATED or ESTABLISHED
}

// BridgeRules accept packets that come in from link, and packets of known connections that go out to it.
func BridgeRules(link string) []Rule {
	return []Rule{{link: link}, {link: link, to: true, established: true}}
}

// SandboxRules accept packets from subnet and to subnet.
func SandboxRules(subnet netip.Prefix) []Rule {
	return []Rule{{subnet: subnet.Masked()}, {subnet: subnet.Masked(), to: true}}
}

// check refuses a rule that would accept every packet, because the link name or the
// subnet is missing or the subnet is every address, and a subnet that is not IPv4.
func (r Rule) check() error {
	if r.link == "" && (!r.subnet.Addr().Is4() || r.subnet.Bits() < 1) {
		return fmt.Errorf("rule %+v: neither a link name nor an IPv4 subnet", r)
	}
	return nil
}
