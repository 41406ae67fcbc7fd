//go:build vmtest

package vmtests

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/arcinit/arcinit/pkg/arcsetup"
	"github.com/arcinit/arcinit/vmtests/guest"
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
	if got := steps(t, []byte(m.read(t, arcsetup.ReportPath)))["sysctl"].Error; strings.Contains(got, "nonesuch") {
		t.Errorf("an optional parameter is missed: %s", got)
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

// TestConfigurationLayers has the image, the host and the command line configure the same things. The image narrows what the host
// may set.
func TestConfigurationLayers(t *testing.T) {
	t.Parallel()
	im := image{
		cmdline: []string{quiet, "arcbox.log=debug", "arcbox.agnet=/x", "arcbox.debug_console=/host/socket", "arcbox.machine_name=x", "arcbox.guest_docker_vsock_port=2375"},
		files: map[string]string{"/etc/arcinit.toml": `
hostname = "image"
log = "warn"
[host]
allow = ["sysctl", "service", "docker", "log", "tmpfs"]
[docker.daemon.features]
cdi = true
[agent]
env = { FROM = "image" }
[[service]]
name = "both"
argv = ["/arcbox/bin/arcbox-agent", "note", "/arcbox/image", "0"]
restart = "never"
[[service]]
name = "image-only"
argv = ["/arcbox/bin/arcbox-agent", "note", "/arcbox/image-only", "0"]
restart = "never"
`},
		shared: map[string]string{"etc/arcinit.toml": `
hostname = "host"
log = "error"
[host]
allow = []
[agent]
path = "/evil"
env = { FROM = "host" }
[docker.daemon.features]
other = true
[sysctl]
vm.swappiness = 11
[[service]]
name = "both"
argv = ["/arcbox/bin/arcbox-agent", "note", "/arcbox/host", "0"]
restart = "never"
[[share]]
tag = "more"
path = "/more"
[[tmpfs]]
path = "/scratch"
`},
		tools: true, nics: bothNICs(),
	}
	for _, boots := range []string{"initramfs", "disk", "root"} {
		t.Run(boots, func(t *testing.T) {
			im := im
			switch boots {
			case "disk": // the root has the file
				im.disks, im.files = []guest.Disk{{File: erofsDisk(t, swapinTree(t, map[string]string{
					"/etc/arcinit.toml": im.files["/etc/arcinit.toml"], "/scratch/none": ""}))}}, map[string]string{"/etc/arcinit.toml": "hostname = \"initramfs\"\n"}
				im.cmdline = append(im.cmdline, "root=/dev/vda")
			case "root": // only the initramfs has the file
				im.disks = []guest.Disk{{File: erofsDisk(t, swapinTree(t, map[string]string{"/scratch/none": ""}))}}
				im.cmdline = append(im.cmdline, "root=/dev/vda")
			}
			m := boot(t, im)
			if boots == "initramfs" {
				comesUp(t, m, "console") // which has no shell
			} else {
				comesUp(t, m)
			}
			report := parseReport(t, []byte(m.read(t, arcsetup.ReportPath)))
			for key, want := range map[string]string{
				"hostname": "/etc/arcinit.toml", "log": "kernel command line", "debug_console": "kernel command line",
				"sysctl.vm.swappiness": "/arcbox/etc/arcinit.toml", "docker.daemon.features.cdi": "/etc/arcinit.toml",
				"docker.daemon.features.other": "/arcbox/etc/arcinit.toml", "service both": "/arcbox/etc/arcinit.toml",
				"service image-only": "/etc/arcinit.toml", "agent.env.FROM": "/etc/arcinit.toml", "tmpfs /scratch": "/arcbox/etc/arcinit.toml",
				"agent.path": "", "share more": "", "host.allow": "/etc/arcinit.toml",
			} {
				if got := report.Config[key]; got != want {
					t.Errorf("%s was set by %q, want %q", key, got, want)
				}
			}
			if r := m.run(t, arcsetup.ProgramPath, "report"); !hasLine(r.Stdout, "sysctl.vm.swappiness ", " /arcbox/etc/arcinit.toml") {
				t.Errorf("uinit report does not say who set vm.swappiness:\n%s", r.Stdout)
			}
			if r := m.run(t, arcsetup.ProgramPath, "plan"); !hasLine(r.Stdout, "/scratch ", " tmpfs ") || !hasLine(r.Stdout, "/Users ", " users ") {
				t.Errorf("uinit plan does not print the mounts:\n%s", r.Stdout)
			}
			for path, want := range map[string]string{"/proc/sys/kernel/hostname": "image\n", "/proc/sys/vm/swappiness": "11\n"} {
				if got := m.read(t, path); got != want {
					t.Errorf("%s is %q, want %q", path, got, want)
				}
			}
			if start := must[probe.AtStart](t, m, "AtStart", none{}); !slices.Contains(start.Environ, "FROM=image") {
				t.Errorf("the agent's environment is %q", start.Environ)
			}
			eventually(t, func() string {
				for name, want := range map[string]bool{"image": false, "host": true, "image-only": true} {
					if _, err := os.Stat(filepath.Join(m.dirs["arcbox"], name)); (err == nil) != want {
						return fmt.Sprintf("the service that notes %s has run: %v, want %v", name, err == nil, want)
					}
				}
				return ""
			})
			outcome(t, m, "config", "already", "arcbox.agent ", "hostname", "agent", "share", "host")
			if got := steps(t, []byte(m.read(t, arcsetup.ReportPath)))["config"].Error; strings.Contains(got, "machine_name") || strings.Contains(got, "vsock") {
				t.Errorf("a key of the agent's is in the error: %s", got)
			}
			t.Run("again", func(t *testing.T) { testAgain(t, m) })
		})
	}
}
