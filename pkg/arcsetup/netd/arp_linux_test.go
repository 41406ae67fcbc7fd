package netd

import (
	"net/netip"
	"slices"
	"testing"
)

// TestClaimant has other hosts use the address, or probe for it, and say other things by ARP.
func TestClaimant(t *testing.T) {
	address, other, none := netip.MustParseAddr("10.0.2.15"), netip.MustParseAddr("10.0.2.2"), netip.IPv4Unspecified()
	reply := func(packet []byte) []byte {
		packet[7] = 2
		return packet
	}
	for _, test := range []struct {
		name   string
		packet []byte
		claims bool
	}{
		{"a request from the address", arpRequest(fuzzMAC, address, other), true},
		{"a reply from the address", reply(arpRequest(fuzzMAC, address, other)), true},
		{"an announcement", arpRequest(fuzzMAC, address, address), true},
		{"a probe", arpRequest(fuzzMAC, none, address), true},
		{"a probe for another address", arpRequest(fuzzMAC, none, other), false},
		{"a request for the address", arpRequest(fuzzMAC, other, address), false},
		{"half a packet", arpRequest(fuzzMAC, address, address)[:arpLength-1], false},
		{"another protocol", slices.Concat([]byte{0, 1, 8, 1}, arpRequest(fuzzMAC, address, address)[4:]), false},
	} {
		mac := claimant(test.packet, address)
		if (mac != nil) != test.claims || mac != nil && mac.String() != fuzzMAC.String() {
			t.Errorf("%s: claimed by %v, want %t", test.name, mac, test.claims)
		}
	}
}
