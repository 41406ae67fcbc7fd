package firewall

import (
	"fmt"
	"net/netip"
	"strings"
)

// Rule accepts the forwarded IPv4 packets that match all of its fields; the
// zero value of a field matches everything.
type Rule struct {
	in, out     string       // names of links
	src, dst    netip.Prefix // masked by check
	established bool         // conntrack states RELATED and ESTABLISHED only
}

// BridgeRules accept what comes in from link, and what belongs to a known
// connection out to it.
func BridgeRules(link string) []Rule {
	return []Rule{{in: link}, {out: link, established: true}}
}

// SandboxRules accept what comes from subnet and what goes there.
func SandboxRules(subnet netip.Prefix) []Rule {
	return []Rule{{src: subnet.Masked()}, {dst: subnet.Masked()}}
}

// String is the rule as iptables spells it, without the chain.
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

// check reports why r must not become a rule. A rule without a condition is
// refused, as it would accept every packet: that is a missing link name or an
// empty configuration value, not a wish.
func (r Rule) check() error {
	if r.in == "" && r.out == "" && !r.src.IsValid() && !r.dst.IsValid() {
		return fmt.Errorf("rule %q: no link name and no valid subnet to match", r)
	}
	for _, name := range []string{r.in, r.out} {
		if err := checkLinkName(name); err != nil {
			return fmt.Errorf("rule %q: %w", r, err)
		}
	}
	for _, p := range []netip.Prefix{r.src, r.dst} {
		switch {
		case !p.IsValid():
		case !p.Addr().Is4():
			return fmt.Errorf("rule %q: %s is not an IPv4 subnet", r, p)
		case p.Bits() == 0:
			return fmt.Errorf("rule %q: %s is every address", r, p)
		}
	}
	return nil
}

// maxLinkName is IFNAMSIZ of linux/if.h without the final NUL, in bytes.
const maxLinkName = 15

// checkLinkName holds name to the kernel's own rule (dev_valid_name in
// net/core/dev.c); the empty name stands for any link.
func checkLinkName(name string) error {
	if len(name) > maxLinkName {
		return fmt.Errorf("link name %q: longer than %d bytes", name, maxLinkName)
	}
	if name == "." || name == ".." || strings.ContainsAny(name, "/:\x00 \t\n\v\f\r") {
		return fmt.Errorf("link name %q: not one the kernel gives", name)
	}
	return nil
}
