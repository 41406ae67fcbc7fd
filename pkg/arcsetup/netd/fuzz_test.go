package netd

import (
	"cmp"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// addACKs adds ACKs as they come from the network, good ones and odd ones.
func addACKs(f *testing.F) {
	f.Helper()
	for _, options := range [][]dhcpv4.Option{
		nil,
		{raw(dhcpv4.OptionSubnetMask), raw(dhcpv4.OptionInterfaceMTU, 1)},
		{raw(dhcpv4.OptionClasslessStaticRoute, 0, 10, 0, 2, 2, 32, 192, 0, 2, 1, 0, 0, 0, 0)},
		{raw(dhcpv4.OptionClasslessStaticRoute, 33, 255)},
		{raw(dhcpv4.OptionClasslessStaticRoute, make([]byte, 1000)...)},
		{raw(dhcpv4.OptionIPAddressLeaseTime, 255, 255, 255, 255), raw(dhcpv4.OptionRenewTimeValue, 0, 0, 0, 1)},
		{raw(dhcpv4.OptionRouter, 10, 0, 2), raw(dhcpv4.OptionDomainNameServer, make([]byte, 400)...)},
		{raw(dhcpv4.OptionDNSDomainSearchList, 1, 'a', 0xc0, 0), raw(dhcpv4.OptionHostName, 0x1b, '[', '2', 'J', 0)},
		{raw(dhcpv4.OptionDNSDomainSearchList, 1, 'a', 1, 'b', 0, 0xc0, 2, 2, 0x1b, '[', 0)},
		{raw(dhcpv4.OptionRelayAgentInformation, 1, 2, 3), raw(dhcpv4.OptionVendorSpecificInformation, 1, 200), raw(dhcpv4.OptionVendorIdentifyingVendorClass, 0, 0, 0, 1, 9)},
		{raw(dhcpv4.OptionUserClassInformation, 3, 'a'), raw(dhcpv4.OptionClientSystemArchitectureType, 0), raw(dhcpv4.OptionAutoConfigure, 2)},
		{raw(dhcpv4.OptionServerIdentifier), raw(dhcpv4.OptionMessage, []byte("no\x1b[31m\n")...)},
	} {
		f.Add(newACK(f, "10.0.2.15", options...).ToBytes())
	}
}

// received is the message in a packet, nil where the client would not take it.
func received(packet []byte) *dhcpv4.DHCPv4 {
	const most = 1500 // bytes: nclient4.MaxMessageSize, which only Linux has
	m, err := dhcpv4.FromBytes(packet[:min(len(packet), most)])
	if err != nil {
		return nil
	}
	return m
}

// checkText finds fault with what a log would not stand.
func checkText(t *testing.T, text string) {
	t.Helper()
	if len(text) > maxText || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		t.Errorf("the log would have %q", text)
	}
}

// maxText is how much one thing refused may have to say, in bytes.
const maxText = 1024

func checkLease(t *testing.T, l lease) {
	t.Helper()
	if a := l.address; !a.IsValid() || !isUnicast(a.Addr()) || a.Bits() < minPrefix {
		t.Errorf("address %s", a)
	}
	if l.server.IsValid() && !isUnicast(l.server) {
		t.Errorf("server %s", l.server)
	}
	if l.mtu != 0 && l.mtu < minMTU {
		t.Errorf("MTU %d", l.mtu)
	}
	switch {
	case l.time == 0 && l.renew == 0 && l.rebind == 0: // for ever
	case l.time < minTime || l.renew < minTime/2 || l.rebind <= l.renew || l.time <= l.rebind:
		t.Errorf("times %s, %s, %s", l.renew, l.rebind, l.time)
	}
	seen := make(map[netip.Prefix]bool)
	for _, r := range l.routes {
		if seen[r.Dst] || r.Dst != r.Dst.Masked() || r.Gateway == l.address.Addr() || r.Gateway.IsValid() && !isUnicast(r.Gateway) {
			t.Errorf("route %+v", r)
		}
		seen[r.Dst] = true
	}
	for _, a := range l.dns {
		if !isUnicast(a) {
			t.Errorf("DNS server %s", a)
		}
	}
	for _, name := range append([]string{l.hostname, l.domain}, l.search...) {
		if len(name) > 253 || strings.ContainsFunc(name, func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-_.", r)
		}) {
			t.Errorf("name %q", name)
		}
	}
}

// FuzzReadReport has the daemon start after a run that left anything.
func FuzzReadReport(f *testing.F) {
	f.Add([]byte(`{"nics":[{"role":"primary","name":"eth0","mac":"52:54:00:00:00:01","obtained":"2026-01-01T00:00:00Z","addresses":["10.0.2.15/24"]}]}`))
	f.Add([]byte(`{"nics":[{"mac":"52:54:00:00:00:01","obtained":"2026-01-01T00:00:00Z","addresses":["fe80::1/64"]}]}`))
	f.Add([]byte(`{"nics":[{"mac":"52:54:00:00:00:01","obtained":"2026-01-01T00:00:00Z","addresses":["127.0.0.1/0"]}]}`))
	f.Add([]byte(`{"nics":[{"mac":"52:54:00:00:00:01","obtained":"2026-01-01T00:00:00Z","addresses":[""]},null,3]}`))
	f.Add([]byte(`{"nics":null}`))
	f.Add([]byte("\x00"))
	path := filepath.Join(f.TempDir(), "net.json")
	f.Fuzz(func(t *testing.T, text []byte) {
		if err := os.WriteFile(path, text, 0o644); err != nil {
			t.Fatal(err)
		}
		r, err := ReadReport(path)
		if err != nil && len(r.NICs) > 0 {
			t.Errorf("an unreadable report has NICs: %+v", r)
		}
		const mac = "52:54:00:00:00:01"
		if p := r.leased(mac, time.Unix(1e9, 0)); p.IsValid() && (!p.Addr().Is4() || !isUnicast(p.Addr()) || p.Bits() < minPrefix) {
			t.Errorf("the address leased before is %s", p)
		}
		r.add(NIC{Role: RoleBridge, Name: "eth1"})
		if !r.hasRole("eth1", RoleBridge) && r.nic("eth1").Role == RoleBridge {
			t.Error("the bridge NIC has not its role")
		}
		r.remove("eth1")
		if r.nic("eth1") != nil {
			t.Error("the NIC removed is there")
		}
	})
}

// FuzzRoles has NICs and roles of any names; links are separated by spaces.
func FuzzRoles(f *testing.F) {
	f.Add("eth0 eth1 eth10 lo", "eth1", "", "eth2", "eth0")
	f.Add("eth0 eth00 eth0x1", "52:54:00:00:00:01", "eth0", "eth0", "eth0")
	f.Add("a1 a01 a001", "a1", "a1", "", "")
	f.Fuzz(func(t *testing.T, links, primary, bridge, further, off string) {
		sys := t.TempDir()
		there := make(map[string]bool)
		for i, name := range strings.Fields(links) {
			dir := filepath.Join(sys, "class/net", name)
			if filepath.Dir(dir) != filepath.Join(sys, "class/net") || strings.Contains(name, "/") || os.MkdirAll(filepath.Join(dir, "device"), 0o755) != nil {
				continue // no link can have that name
			}
			mac := net.HardwareAddr{0x52, 0x54, 0, 0, 0, byte(i)}
			if err := os.WriteFile(filepath.Join(dir, "address"), []byte(mac.String()+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			there[name] = true
		}
		slots := Roles{Primary: primary, Bridge: bridge, Further: []Further{
			{NIC: further, Role: RoleDHCP}, {NIC: off, Role: RoleOff},
		}}.slots()
		found, _ := slots.assign(sys)
		has, names := make(map[Role]int), make(map[string]bool)
		for _, a := range found {
			if !there[a.Name] || names[a.Name] {
				t.Errorf("%+v is not there, or there twice, in %+v", a, found)
			}
			names[a.Name] = true
			has[a.Role]++
		}
		// A NIC is free only where both roles are taken, or kept for another.
		lacks := func(r Role, name string) bool { return name == "" && has[r] == 0 }
		if has[RolePrimary] > 1 || has[RoleBridge] > 1 || len(there) > len(found) && (lacks(RolePrimary, primary) || lacks(RoleBridge, bridge)) {
			t.Errorf("of %v: %+v", there, found)
		}
		if again, _ := slots.assign(sys); !slices.Equal(again, found) {
			t.Errorf("of %v: %+v, and then %+v", there, found, again)
		}
	})
}

// FuzzCompareNatural has names ordered, whatever they are.
func FuzzCompareNatural(f *testing.F) {
	f.Add("eth2", "eth10", "eth010")
	f.Add("a1b", "a01", "a")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		sign := func(a, b string) int { return cmp.Compare(compareNatural(a, b), 0) }
		if sign(a, b) != -sign(b, a) || (sign(a, b) == 0) != (a == b) {
			t.Errorf("%q and %q: %d and %d", a, b, sign(a, b), sign(b, a))
		}
		if sign(a, b) <= 0 && sign(b, c) <= 0 && sign(a, c) > 0 {
			t.Errorf("%q, %q, %q: not in order", a, b, c)
		}
	})
}
