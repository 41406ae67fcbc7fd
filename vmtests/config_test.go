//go:build vmtest

package vmtests

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/arcinit/arcinit/pkg/arcsetup"
	"github.com/arcinit/arcinit/vmtests/probe"
)

// TestConfiguration has the host configure all that it can.
func TestConfiguration(t *testing.T) {
	t.Parallel()
	m := boot(t, image{
		nics: bothNICs(), noAgent: true, tools: true,
		// The NICs swap their roles. One is named by its MAC address.
		cmdline: []string{quiet, "arcbox.config=/arcbox/host.toml", "arcbox.hostname=line",
			"arcbox.agent=/agent", "arcbox.primary=52:54:00:00:00:02", "arcbox.log=debug"},
		executable: agentInside(t),
		files:      map[string]string{"/etc/arcbox/vmm.toml": "[network]\ncidr = \"10.77.0.0/16\"\n"},
		shared: map[string]string{"host.toml": `
hostname = "file"
[dns]
nameservers = ["10.0.2.1", "fd00::1"]
[network]
bridge = "eth0"
[agent]
path = "/nowhere"
`},
	})
	comesUp(t, m)
	t.Run("hostname", func(t *testing.T) {
		if got := strings.TrimSpace(m.read(t, "/proc/sys/kernel/hostname")); got != "line" {
			t.Errorf("the host name is %q, want the command line's", got)
		}
		if got := hostsTable(m.read(t, "/etc/hosts"))["127.0.1.1"]; !slices.Equal(got, []string{"line"}) {
			t.Errorf("/etc/hosts has %v", got)
		}
	})
	t.Run("nameservers", func(t *testing.T) {
		if got := m.read(t, "/etc/resolv.conf"); got != "nameserver 10.0.2.1\nnameserver fd00::1\n" {
			t.Errorf("/etc/resolv.conf holds %q", got)
		}
	})
	t.Run("roles", func(t *testing.T) {
		address(t, m, "eth1", "192.168.64.15/24")
		address(t, m, "eth0", "10.0.2.15/24")
		eventually(t, func() string {
			for _, r := range must[[]probe.Route](t, m, "Routes", none{}) {
				if r.Dst == "" && r.Link == "eth1" && r.Gateway == "192.168.64.1" {
					return ""
				}
			}
			return "no default route over eth1"
		})
		if got := m.read(t, "/proc/sys/net/ipv4/conf/eth0/proxy_arp"); got != "1\n" {
			t.Errorf("proxy_arp of eth0 is %q", got)
		}
		testRules(t, m, "-i eth0 -j ACCEPT", "-o eth0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT")
	})
	t.Run("sandbox", func(t *testing.T) {
		testRules(t, m, "-s 10.77.0.0/16 -j ACCEPT", "-d 10.77.0.0/16 -j ACCEPT")
	})
	t.Run("log", func(t *testing.T) {
		log := must[[]probe.Record](t, m, "KernelLog", none{})
		if !slices.ContainsFunc(log, func(r probe.Record) bool {
			return r.Level == 7 && strings.HasPrefix(r.Text, "arcinit: ") && strings.Contains(r.Text, "step=users outcome=unavailable")
		}) {
			t.Error("no debug line about the absent share users, with arcbox.log=debug")
		}
	})
}

// TestSysctlsComeLater configures kernel parameters that come with a module and with links, and one that never comes.
func TestSysctlsComeLater(t *testing.T) {
	t.Parallel()
	m := boot(t, image{nics: bothNICs(), tools: true, cmdline: []string{quiet}, shared: map[string]string{"etc/arcinit.toml": `
[sysctl]
"net.bridge.bridge-nf-call-iptables" = 0
"net.ipv4.conf.*.rp_filter" = 2
"net/ipv4/conf/late0/rp_filter" = 1
"-net.core.nonesuch" = 1
`}})
	comesUp(t, m)
	outcome(t, m, "sysctl", "ok", "bridge-nf-call-iptables")
	if report := m.read(t, arcsetup.ReportPath); strings.Contains(report, "nonesuch") {
		t.Errorf("an optional parameter is missed: %s", report)
	}
	if r := m.run(t, arcsetup.ProgramPath, "modprobe", "script", "-q", "--", "br_netfilter"); r.Code != 0 {
		t.Fatalf("load br_netfilter: %s", r.Stderr)
	}
	is := func(path, want string) {
		t.Helper()
		eventually(t, func() string {
			if got := m.read(t, "/proc/sys/"+path); got != want {
				return fmt.Sprintf("%s is %q, want %q", path, got, want)
			}
			return ""
		})
	}
	is("net/bridge/bridge-nf-call-iptables", "0\n") // before a link comes
	for _, link := range []string{"late0", "late1"} {
		m.ip(t, "link", "add", link, "type", "dummy")
	}
	is("net/ipv4/conf/late0/rp_filter", "1\n")
	is("net/ipv4/conf/late1/rp_filter", "2\n")
	is("net/ipv4/conf/lo/rp_filter", "2\n")
}
