package firewall

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// String returns the rule as arguments of iptables, without the chain.
func (r Rule) String() string {
	var args string
	switch {
	case r.guard:
		verdict := "ACCEPT"
		if r.drop {
			verdict = "DROP"
		}
		return "-d " + r.subnet.String() + " -i " + r.link + "+ -j " + verdict
	case r.link != "" && r.to:
		args = "-o " + r.link
	case r.link != "":
		args = "-i " + r.link
	case r.to:
		args = "-d " + r.subnet.String()
	default:
		args = "-s " + r.subnet.String()
	}
	if r.established {
		args += " -m conntrack --ctstate RELATED,ESTABLISHED"
	}
	return args + " -j ACCEPT"
}

func TestString(t *testing.T) {
	var got []string
	subnet := netip.MustParsePrefix("172.20.3.4/16")
	for _, r := range slices.Concat(BridgeRules("eth1"), SandboxRules(subnet), IsolationRules(subnet)) {
		got = append(got, r.String())
	}
	want := []string{
		"-i eth1 -j ACCEPT",
		"-o eth1 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
		"-s 172.20.0.0/16 -j ACCEPT",
		"-d 172.20.0.0/16 -j ACCEPT",
		"-s 169.254.100.2/32 -j ACCEPT",
		"-d 169.254.100.2/32 -j ACCEPT",
		"-d 172.20.0.1/32 -i vmtap+ -j ACCEPT",
		"-d 172.20.0.0/16 -i vmtap+ -j DROP",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestCheck(t *testing.T) {
	for _, test := range []struct {
		name  string
		rules []Rule
		ok    bool
	}{
		{"link", BridgeRules("eth1"), true},
		{"link with special characters", BridgeRules(`e.1-@"'é`), true},
		{"no link", BridgeRules(""), false},
		{"subnet", SandboxRules(netip.MustParsePrefix("172.20.0.0/16")), true},
		{"isolation", IsolationRules(netip.MustParsePrefix("172.20.0.0/16")), true},
		{"isolation of one address", IsolationRules(netip.MustParsePrefix("255.255.255.255/32")), true},
		{"IPv6", SandboxRules(netip.MustParsePrefix("fd00::/8")), false},
		{"IPv4 in IPv6", SandboxRules(netip.MustParsePrefix("::ffff:10.0.0.0/104")), false},
		{"every address", SandboxRules(netip.MustParsePrefix("10.0.0.0/0")), false},
		{"no subnet", SandboxRules(netip.Prefix{}), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, r := range test.rules {
				if err := r.check(); (err == nil) != test.ok {
					t.Errorf("%s: error %v", r, err)
				}
			}
		})
	}
}
