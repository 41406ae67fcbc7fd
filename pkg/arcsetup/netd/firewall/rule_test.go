package firewall

import (
	"net/netip"
	"strings"
	"testing"
)

func TestString(t *testing.T) {
	var got []string
	for _, r := range append(BridgeRules("eth1"), SandboxRules(netip.MustParsePrefix("172.20.3.4/16"))...) {
		got = append(got, r.String())
	}
	want := []string{
		"-i eth1 -j ACCEPT",
		"-o eth1 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
		"-s 172.20.0.0/16 -j ACCEPT",
		"-d 172.20.0.0/16 -j ACCEPT",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestCheck(t *testing.T) {
	for _, test := range []struct {
		name  string
		rules []Rule
		want  string // in the error; empty for none
	}{
		{"plain link", BridgeRules("eth1"), ""},
		{"15 bytes", BridgeRules("fifteenbyte1234"), ""},
		{"special characters", BridgeRules(`e.1-@"'é`), ""},
		{"16 bytes", BridgeRules("sixteenbytes1234"), "longer than 15 bytes"},
		{"no link", BridgeRules(""), "no link name"},
		{"slash", BridgeRules("../eth1"), "not one the kernel gives"},
		{"NUL", BridgeRules("eth\x00"), "not one the kernel gives"},
		{"space", BridgeRules("eth 1"), "not one the kernel gives"},
		{"subnet", SandboxRules(netip.MustParsePrefix("172.20.0.0/16")), ""},
		{"IPv6", SandboxRules(netip.MustParsePrefix("fd00::/8")), "not an IPv4 subnet"},
		{"IPv4 in IPv6", SandboxRules(netip.MustParsePrefix("::ffff:10.0.0.0/104")), "not an IPv4 subnet"},
		{"everything", SandboxRules(netip.MustParsePrefix("10.0.0.0/0")), "every address"},
		{"no subnet", SandboxRules(netip.Prefix{}), "no valid subnet"},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, r := range test.rules {
				err := r.check()
				if test.want == "" && err != nil {
					t.Errorf("%s: %v", r, err)
				}
				if test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
					t.Errorf("%s: error %v, want %q in it", r, err, test.want)
				}
			}
		})
	}
}
