package netd

import (
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// TestNetOfLink checks routes for link 2 beside link 3 and a bridge of containers.
func TestNetOfLink(t *testing.T) {
	connected := func(index int, dst string) netlink.Route {
		return netlink.Route{LinkIndex: index, Dst: ipNet(netip.MustParsePrefix(dst)), Protocol: unix.RTPROT_KERNEL, Scope: netlink.SCOPE_LINK}
	}
	have := []netlink.Route{
		{LinkIndex: 2, Protocol: unix.RTPROT_DHCP},
		{LinkIndex: 3, Dst: ipNet(netip.MustParsePrefix("192.168.0.0/16")), Protocol: unix.RTPROT_DHCP, Scope: netlink.SCOPE_LINK},
		connected(2, "10.9.0.0/24"), connected(3, "10.9.1.0/24"), connected(4, "172.17.0.0/16"),
	}
	for dst, want := range map[string]string{
		"0.0.0.0/0": "", "0.0.0.0/1": "", "10.0.0.0/8": "", "10.9.0.0/16": "", "192.168.1.0/24": "", "172.16.0.0/12": "",
		"10.9.0.0/24": "10.9.0.0/24", "10.9.0.128/25": "",
		"10.9.1.0/24": "10.9.1.0/24", "10.9.1.128/25": "10.9.1.0/24", "10.9.1.1/32": "10.9.1.0/24",
		"172.17.0.2/32": "172.17.0.0/16",
	} {
		got := netOfLink(have, 2, netip.MustParsePrefix(dst))
		if got.IsValid() != (want != "") || want != "" && got.String() != want {
			t.Errorf("%s is in %s, want %q", dst, got, want)
		}
	}
}
