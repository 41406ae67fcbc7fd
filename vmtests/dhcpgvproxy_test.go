//go:build vmtest && full

package vmtests

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/arcinit/arcinit/pkg/arcsetup/netd"
	"github.com/arcinit/arcinit/vmtests/guest"
	"github.com/arcinit/arcinit/vmtests/probe"
)

// TestDHCPGvproxy has the guest lease from gvproxy, the network of Podman's and Lima's guests on macOS. gvproxy runs on the host, and
// QEMU connects to it. Every lease of gvproxy lasts an hour, so the test sees no renewal.
func TestDHCPGvproxy(t *testing.T) {
	t.Parallel()
	const gateway, mtu = "192.168.127.1", 1400
	socket := filepath.Join(t.TempDir(), "qemu")
	var log strings.Builder
	// Without -ssh-port=-1, gvproxy forwards a port of the host.
	gvproxy := exec.CommandContext(t.Context(), built(t, "gvproxy"), "-listen-qemu", "unix://"+socket, "-ssh-port=-1", fmt.Sprintf("-mtu=%d", mtu))
	gvproxy.Stdout, gvproxy.Stderr = &log, &log
	if err := gvproxy.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = gvproxy.Wait() // the end of the test kills it
		if t.Failed() {
			t.Logf("gvproxy's log:\n%s", log.String())
		}
	})
	eventually(t, func() string {
		if _, err := os.Stat(socket); err != nil {
			return err.Error()
		}
		return ""
	})
	m := boot(t, image{
		nics: []guest.NIC{{Netdev: "stream,server=off,addr.type=unix,addr.path=" + socket}}, cmdline: []string{quiet}, tools: true,
		programs: map[string]string{"arcbox/busybox": built(t, "swapin/usr/bin/busybox")},
	})
	leased := state(t, m, "eth0", netd.StateBound)
	server := netip.MustParseAddr(gateway)
	if len(leased.Addresses) != 1 || leased.Addresses[0].Masked() != netip.PrefixFrom(server, 24).Masked() || leased.Gateway != server || leased.Server != server ||
		!slices.Equal(leased.DNS, []netip.Addr{server}) || leased.MTU != mtu || leased.LeaseSeconds != 3600 {
		t.Fatalf("net.json has %+v", leased)
	}
	address(t, m, "eth0", leased.Addresses[0].String())
	defaultRoutes(t, m, probe.Route{Gateway: gateway, Link: "eth0"})
	if k := link(must[[]probe.Link](t, m, "Links", none{}), "eth0"); k.MTU != mtu {
		t.Errorf("the kernel has %+v", k)
	}
	if r := m.run(t, "/arcbox/busybox", "nslookup", "host.containers.internal", gateway); !strings.Contains(r.Stdout, "192.168.127.254") {
		t.Errorf("nslookup ended with code %d: %s%s", r.Code, r.Stdout, r.Stderr)
	}
	// The gateway's API speaks HTTP, and the agent does not.
	if got := must[string](t, m, "Dial", gateway+":80"); got != "HTTP/1.1 400 Bad Request\r\n" {
		t.Errorf("the gateway says %q", got)
	}
	m.plug(t, 0, false)
	state(t, m, "eth0", netd.StateNoCarrier)
	m.plug(t, 0, true)
	if n := state(t, m, "eth0", netd.StateBound); !slices.Equal(n.Addresses, leased.Addresses) || n.Server != server {
		t.Errorf("with the cable in again, net.json has %+v", n)
	}
	checkGvproxyPage(t)
}

// checkGvproxyPage compares the version of docs/dhcp.md with the one that scripts/gvproxy.sh builds.
func checkGvproxyPage(t *testing.T) {
	t.Helper()
	var versions []string
	for path, re := range map[string]string{dhcpPage: `gvproxy ([0-9.]+)`, "../scripts/gvproxy.sh": `(?m)^version=v(.+)$`} {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		found := regexp.MustCompile(re).FindSubmatch(text)
		if found == nil {
			t.Fatalf("%s does not name gvproxy's version", path)
		}
		versions = append(versions, string(found[1]))
	}
	if versions[0] != versions[1] {
		t.Errorf("docs/dhcp.md and scripts/gvproxy.sh have the versions %v of gvproxy", versions)
	}
}
