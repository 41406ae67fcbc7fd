//go:build vmtest

package vmtests

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/arcinit/arcinit/pkg/arcsetup/netd"
	"github.com/arcinit/arcinit/vmtests/dhcppeer"
	"github.com/arcinit/arcinit/vmtests/guest"
	"github.com/arcinit/arcinit/vmtests/probe"
	"github.com/insomniacslk/dhcp/dhcpv4"
)

// withMTU returns the option of that interface MTU.
func withMTU(mtu int) dhcpv4.Option {
	return option(dhcpv4.OptionInterfaceMTU, byte(mtu>>8), byte(mtu))
}

// long is a line that takes many packets.
var long = strings.Repeat("a long line ", 5000)

// TestSmallMTU has a container talk over a NIC whose lease has a small MTU, while the network drops larger packets without a word. Then
// the MTU gets too small for IPv6, and large again.
func TestSmallMTU(t *testing.T) {
	t.Parallel()
	nic, p := dhcpPeer(t, primaryAddress, leaseOf(primaryAddress, time.Hour, withMTU(1400)))
	m := boot(t, image{nics: []guest.NIC{nic}, tools: true, cmdline: []string{quiet}})
	address(t, m, "eth0", primaryAddress)
	container := netip.MustParseAddr(containerAddress)
	m.bridged(t, "container", container)
	m.write(t, "/proc/sys/net/ipv4/conf/eth0/proxy_arp", "1\n") // instead of an engine's masquerade
	if err := p.Route(netip.PrefixFrom(container, 16).Masked()); err != nil {
		t.Fatal(err)
	}
	host, err := p.Beyond(beyondPrimary)
	if err != nil {
		t.Fatal(err)
	}
	answerLines(t, host, func(net.Addr, string) string { return long + "\n" })
	p.Narrow(1400)
	hears := func(t *testing.T) {
		t.Helper()
		eventually(t, func() string {
			heard, err := ask[string](m, "Talk", probe.Endpoint{Namespace: "container", Address: beyondPrimary.String() + ":7", Timeout: 5 * time.Second})
			if err != nil || heard != long+"\n" {
				return fmt.Sprintf("the container heard %d bytes of %d: %v", len(heard), len(long)+1, err)
			}
			return ""
		})
	}
	t.Run("container", hears)

	leases := func(t *testing.T, mtu int) {
		t.Helper()
		p.Lease(leaseOf(primaryAddress, time.Hour, withMTU(mtu)))
		must[none](t, m, "SetClock", 2*time.Second) // makes the guest ask
		eventually(t, func() string {
			if got := network(t, m)["eth0"].MTU; got != mtu {
				return fmt.Sprintf("net.json has the MTU %d", got)
			}
			return ""
		})
	}
	t.Run("without IPv6", func(t *testing.T) {
		leases(t, 1000)
		p.Narrow(1000)
		if got := m.ip(t, "-6", "address", "show", "dev", "eth0"); got != "" {
			t.Errorf("with an MTU of 1000 eth0 has\n%s", got)
		}
		hears(t)
	})
	t.Run("with IPv6 again", func(t *testing.T) {
		leases(t, 1400)
		eventually(t, func() string {
			if got := m.ip(t, "-6", "address", "show", "dev", "eth0", "scope", "link"); !strings.Contains(got, "fe80::") {
				return "eth0 has no link-local address: " + got
			}
			return ""
		})
		if got := m.read(t, "/proc/sys/net/ipv6/conf/eth0/accept_ra"); got != "2\n" {
			t.Errorf("accept_ra is %q", got)
		}
	})
}

// TestIPv6Router has a router on each network advertise itself, while the guest begins to forward IPv6, as it does for Docker: the guest
// keeps the primary NIC's router, and takes none from the bridge.
func TestIPv6Router(t *testing.T) {
	t.Parallel()
	nics, peers := dhcpPeers(t, time.Hour)
	m := boot(t, image{nics: nics, tools: true, cmdline: []string{quiet}})
	state(t, m, "eth0", netd.StateBound)
	state(t, m, "eth1", netd.StateBound)
	prefixes := []netip.Prefix{netip.MustParsePrefix("2001:db8:0:1::/64"), netip.MustParsePrefix("2001:db8:0:2::/64")}
	advertised := func(t *testing.T) {
		t.Helper()
		for i, p := range slices.Backward(peers) { // the bridge first
			eventually(t, func() string {
				p.Advertise(prefixes[i])
				if got := m.ip(t, "-6", "address", "show", "dev", fmt.Sprintf("eth%d", i)); !strings.Contains(got, strings.TrimSuffix(prefixes[i].Addr().String(), ":")) {
					return fmt.Sprintf("eth%d has no address of %s:\n%s", i, prefixes[i], got)
				}
				return ""
			})
		}
		eventually(t, func() string {
			routes := strings.Split(strings.TrimSpace(m.ip(t, "-6", "route", "show", "default")), "\n")
			if len(routes) != 1 || !strings.HasPrefix(routes[0], "default via "+dhcppeer.Router.String()+" dev eth0 ") {
				return fmt.Sprintf("default routes are %q, want one via %s on eth0", routes, dhcppeer.Router)
			}
			return ""
		})
	}
	t.Run("host", advertised)
	t.Run("forwarding", func(t *testing.T) {
		m.write(t, "/proc/sys/net/ipv6/conf/all/forwarding", "1\n")
		if got := m.ip(t, "-6", "route", "show", "default"); !strings.Contains(got, "dev eth0") {
			t.Errorf("with forwarding the guest lost its router; the default routes are %q", got)
		}
		m.ip(t, "-6", "route", "flush", "default")
		m.ip(t, "-6", "address", "flush", "dev", "eth0", "scope", "global")
		m.ip(t, "-6", "address", "flush", "dev", "eth1", "scope", "global")
		advertised(t)
	})
}
