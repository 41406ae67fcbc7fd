//go:build vmtest

package vmtests

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/arcinit/arcinit/vmtests/kconfig"
	"github.com/arcinit/arcinit/vmtests/probe"
)

// testFeatures has the guest use the kernel features that containers need and no row uses.
func testFeatures(t *testing.T, m *machine) {
	filesystems := strings.Fields(m.read(t, "/proc/filesystems"))
	for _, want := range []string{"erofs", "squashfs", "ext4", "btrfs", "overlay", "binfmt_misc"} {
		if !slices.Contains(filesystems, want) {
			t.Errorf("there is no file system %s", want)
		}
	}
	legacy := tool("iptables", "xtables-legacy-multi", "iptables")
	legacy6 := tool("iptables", "xtables-legacy-multi", "ip6tables")
	nft6 := tool("iptables", "xtables-nft-multi", "ip6tables")
	for _, command := range [][]string{
		append(ip, "link", "add", "t-dummy", "type", "dummy"),
		append(ip, "link", "add", "t-bridge", "type", "bridge", "vlan_filtering", "1"),
		append(ip, "link", "add", "t-veth", "type", "veth", "peer", "name", "t-peer"),
		append(ip, "link", "add", "t-vxlan", "type", "vxlan", "id", "4097", "dstport", "4789", "dev", "eth1"),
		append(ip, "link", "add", "t-macvlan", "link", "t-dummy", "type", "macvlan", "mode", "bridge"),
		append(ip, "link", "add", "t-ipvlan", "link", "t-veth", "type", "ipvlan", "mode", "l2"),
		append(ip, "link", "add", "t-wireguard", "type", "wireguard"),
		append(ip, "tuntap", "add", "t-tun", "mode", "tun"),
		// For encrypted overlay networks. It needs random numbers although the jitter RNG is off.
		append(ip, "xfrm", "state", "add", "src", "192.0.2.1", "dst", "192.0.2.2", "proto", "esp", "spi", "1",
			"aead", "rfc4106(gcm(aes))", "0x"+strings.Repeat("5a", 20), "64"),
		append(ip, "rule", "add", "from", "172.31.0.0/16", "table", "100"),
		append(ip, "-6", "rule", "add", "from", "fd00::/64", "table", "100"),

		append(legacy, "-A", "FORWARD", "-m", "conntrack", "--ctstate", "ESTABLISHED", "-j", "ACCEPT"),
		append(legacy, "-t", "nat", "-A", "POSTROUTING", "-s", "172.31.0.0/16", "-j", "MASQUERADE"),
		append(legacy, "-t", "nat", "-A", "OUTPUT", "-m", "addrtype", "--dst-type", "LOCAL", "-j", "REDIRECT"),
		append(legacy, "-t", "mangle", "-A", "OUTPUT", "-p", "udp", "-m", "policy", "--dir", "out", "--pol", "ipsec", "-j", "MARK", "--set-mark", "1"),
		append(legacy, "-t", "raw", "-A", "PREROUTING", "-m", "mark", "--mark", "1", "-j", "DROP"),
		append(legacy6, "-t", "nat", "-A", "POSTROUTING", "-s", "fd00::/64", "-j", "MASQUERADE"),
		append(legacy6, "-t", "raw", "-A", "PREROUTING", "-d", "fd00::/64", "-j", "DROP"),

		append(iptables, "-A", "FORWARD", "-m", "ipvs", "--ipvs", "-j", "RETURN"),
		append(iptables, "-A", "FORWARD", "-p", "tcp", "-m", "multiport", "--dports", "80,443", "-m", "comment", "--comment", "web", "-j", "RETURN"),
		append(iptables, "-A", "FORWARD", "-m", "limit", "--limit", "5/min", "-j", "LOG"),
		append(iptables, "-A", "FORWARD", "-p", "tcp", "-j", "REJECT", "--reject-with", "tcp-reset"),
		append(iptables, "-t", "mangle", "-A", "FORWARD", "-p", "tcp", "--tcp-flags", "SYN,RST", "SYN", "-j", "TCPMSS", "--clamp-mss-to-pmtu"),
		append(iptables, "-t", "mangle", "-A", "OUTPUT", "-m", "bpf", "--bytecode", "1,6 0 0 65535", "-j", "MARK", "--set-mark", "1"),
		append(iptables, "-t", "nat", "-A", "PREROUTING", "-m", "statistic", "--mode", "random", "--probability", "0.5", "-p", "tcp", "-j", "DNAT", "--to-destination", "172.31.0.2:80"),
		append(nft6, "-t", "nat", "-A", "POSTROUTING", "-s", "fd00::/64", "-j", "MASQUERADE"),
		append(nft6, "-t", "filter", "-A", "FORWARD", "-m", "conntrack", "--ctstate", "INVALID", "-j", "DROP"),
	} {
		r := must[probe.Result](t, m, "Run", probe.Command{Argv: command, Env: iptablesEnv})
		if r.Code != 0 {
			t.Errorf("%s: code %d: %s", strings.Join(command[4:], " "), r.Code, r.Stderr)
		}
	}
}

// TestOwnKernelMeetsMoby looks at the configuration that the kernel was built with.
func TestOwnKernelMeetsMoby(t *testing.T) {
	t.Parallel()
	if !slices.Contains(strings.Fields(os.Getenv("KERNELS")), "own") {
		t.Skip("KERNELS does not name this project's own kernel")
	}
	text, err := os.ReadFile(built(t, "kernel.config"))
	if err != nil {
		t.Fatal(err)
	}
	table, wrong := kconfig.Check(kconfig.Parse(string(text)))
	t.Log("\n" + table)
	for _, w := range wrong {
		t.Error(w)
	}
}

// TestCtrlAltDel presses keys as Firecracker's SendCtrlAltDel does, on each kernel of a PC.
func TestCtrlAltDel(t *testing.T) {
	if arch() != "amd64" {
		t.Skip("the arm64 machine has no keyboard")
	}
	t.Parallel()
	eachKernel(t, func(t *testing.T, k kernel) {
		m := boot(t, k.on(t, image{cmdline: []string{quiet}}))
		m.waitReport(t)
		m.ctrlAltDel(t)
		m.waitEnd(t, "guest-reset")
	})
}
