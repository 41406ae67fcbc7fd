package firewall

import (
	"fmt"
	"net/netip"
	"strings"
)

// Rule accepts the forwarded IPv4 packets that match all of its fields. The zero
// value of a field matches everything.
type Rule struct {
	in, out     string // link names
	src, dst    netip.Prefix
	established bool // only packets in conntrack state RELATED or ESTABLISHED
}

// BridgeRules accept packets that come in from link, and packets of known
// connections that go out to it.
func BridgeRules(link string) []Rule {
	return []Rule{{in: link}, {out: link, established: true}}
}

// SandboxRules accept packets from subnet and to subnet.
func SandboxRules(subnet netip.Prefix) []Rule {
	return []Rule{{src: subnet.Masked()}, {dst: subnet.Masked()}}
}

// String returns the rule as arguments of iptables, without the chain.
func (r Rule) String() string {
	var s strings.Builder
	if r.in != "" {
		s.WriteString("-i " + r.in + " ")
	}
	if r.out != "" {
		s.WriteString("-o " + r.out + " ")
	}
	if r.src.IsValid() {
		s.WriteString("-s " + r.src.String() + " ")
	}
	if r.dst.IsValid() {
		s.WriteString("-d " + r.dst.String() + " ")
	}
	if r.established {
		s.WriteString("-m conntrack --ctstate RELATED,ESTABLISHED ")
	}
	return s.String() + "-j ACCEPT"
}

// check refuses rules that would accept every packet, because a link name or a
// subnet is missing or everything matches it, and subnets that are not IPv4.
func (r Rule) check() error {
	if r.in == "" && r.out == "" && !r.src.IsValid() && !r.dst.IsValid() {
		return fmt.Errorf("rule %q: neither a link name nor a valid subnet", r)
	}
	for _, p := range []netip.Prefix{r.src, r.dst} {
		if p.IsValid() && (!p.Addr().Is4() || p.Bits() == 0) {
			return fmt.Errorf("rule %q: %s is not an IPv4 subnet, or is every address", r, p)
		}
	}
	return nil
}
