package netd

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"github.com/u-root/u-root/pkg/dhclient"
)

// newACK returns an ACK with a plain lease of address, changed by options.
func newACK(t testing.TB, address string, options ...dhcpv4.Option) *dhcpv4.DHCPv4 {
	t.Helper()
	ack, err := dhcpv4.New(
		dhcpv4.WithMessageType(dhcpv4.MessageTypeAck),
		dhcpv4.WithYourIP(net.ParseIP(address)),
		dhcpv4.WithServerIP(net.ParseIP("10.0.2.1")),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.ParseIP("10.0.2.1"))),
		dhcpv4.WithOption(dhcpv4.OptSubnetMask(net.CIDRMask(24, 32))),
		dhcpv4.WithOption(dhcpv4.OptRouter(net.ParseIP("10.0.2.1"))),
		dhcpv4.WithOption(dhcpv4.OptDNS(net.ParseIP("10.0.2.3"))),
		dhcpv4.WithOption(dhcpv4.OptIPAddressLeaseTime(time.Hour)),
	)
	if err != nil {
		t.Fatal(err)
	}
	ack.OpCode = dhcpv4.OpcodeBootReply
	for _, o := range options {
		ack.UpdateOption(o)
	}
	return ack
}

// raw returns an option with any value, valid or not.
func raw(code dhcpv4.OptionCode, value ...byte) dhcpv4.Option {
	return dhcpv4.OptGeneric(code, value)
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func route(dst, gateway string) Route {
	r := Route{Dst: netip.MustParsePrefix(dst)}
	if gateway != "" {
		r.Gateway = addr(gateway)
	}
	return r
}

func TestParseLease(t *testing.T) {
	plain := lease{
		address: netip.MustParsePrefix("10.0.2.15/24"),
		server:  addr("10.0.2.1"),
		routes:  []Route{route("0.0.0.0/0", "10.0.2.1")},
		dns:     []netip.Addr{addr("10.0.2.3")},
		time:    time.Hour,
		renew:   30 * time.Minute,
		rebind:  52*time.Minute + 30*time.Second,
	}
	with := func(change func(*lease)) lease {
		l := plain
		change(&l)
		return l
	}
	noRoutes := with(func(l *lease) { l.routes = nil })
	manyRoutes := func(n int) (value []byte, routes []Route) {
		for i := range n {
			value = append(value, 24, 10, 1, byte(i), 10, 0, 2, 9)
			routes = append(routes, Route{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 1, byte(i)}), 24), addr("10.0.2.9")})
		}
		return value, routes
	}
	tooMany, _ := manyRoutes(200)
	_, enough := manyRoutes(maxRoutes)

	for _, test := range []struct {
		name    string
		options []dhcpv4.Option
		want    lease
		invalid string // the option, address or number that is reported; empty for none
	}{
		{"plain", nil, plain, ""},
		{"no mask", []dhcpv4.Option{raw(dhcpv4.OptionSubnetMask)}, plain, "Subnet Mask"},
		{"mask too long", []dhcpv4.Option{raw(dhcpv4.OptionSubnetMask, 255, 255, 255, 0, 0)}, plain, "Subnet Mask"},
		{"mask /0", []dhcpv4.Option{raw(dhcpv4.OptionSubnetMask, 0, 0, 0, 0)}, plain, "00000000"},
		{"mask /1", []dhcpv4.Option{raw(dhcpv4.OptionSubnetMask, 128, 0, 0, 0)}, plain, "Subnet Mask"},
		{"mask with holes", []dhcpv4.Option{raw(dhcpv4.OptionSubnetMask, 255, 0, 255, 0)}, plain, "ff00ff00"},
		{"mask /32", []dhcpv4.Option{dhcpv4.OptSubnetMask(net.CIDRMask(32, 32))},
			with(func(l *lease) { l.address = netip.MustParsePrefix("10.0.2.15/32") }), ""},
		{"mask /8", []dhcpv4.Option{dhcpv4.OptSubnetMask(net.CIDRMask(8, 32))},
			with(func(l *lease) { l.address = netip.MustParsePrefix("10.0.2.15/8") }), ""},

		{"no router", []dhcpv4.Option{raw(dhcpv4.OptionRouter)}, with(func(l *lease) { l.routes = nil }), ""},
		{"router is our address", []dhcpv4.Option{dhcpv4.OptRouter(net.ParseIP("10.0.2.15"))},
			with(func(l *lease) { l.routes = nil }), "10.0.2.15"},
		{"first router is our address", []dhcpv4.Option{dhcpv4.OptRouter(net.ParseIP("10.0.2.15"), net.ParseIP("10.0.2.2"))},
			with(func(l *lease) { l.routes = []Route{route("0.0.0.0/0", "10.0.2.2")} }), "10.0.2.15"},
		{"router off the link", []dhcpv4.Option{dhcpv4.OptRouter(net.ParseIP("192.0.2.1"))},
			with(func(l *lease) { l.routes = []Route{route("0.0.0.0/0", "192.0.2.1")} }), ""},
		{"router is a group", []dhcpv4.Option{dhcpv4.OptRouter(net.ParseIP("224.0.0.1"))},
			with(func(l *lease) { l.routes = nil }), "224.0.0.1"},
		{"router list cut off", []dhcpv4.Option{raw(dhcpv4.OptionRouter, 10, 0, 2, 1, 10, 0)}, with(func(l *lease) { l.routes = nil }), "Router"},
		{"server list cut off", []dhcpv4.Option{raw(dhcpv4.OptionDomainNameServer, 10, 0, 2, 3, 10)}, with(func(l *lease) { l.dns = nil }), "Domain Name Server"},
		{"servers that are no hosts", []dhcpv4.Option{raw(dhcpv4.OptionDomainNameServer, 127, 0, 0, 1, 10, 0, 2, 3, 0, 0, 0, 0)}, plain, "127.0.0.1"},

		{"MTU 1400", []dhcpv4.Option{raw(dhcpv4.OptionInterfaceMTU, 5, 120)}, with(func(l *lease) { l.mtu = 1400 }), ""},
		{"MTU 576", []dhcpv4.Option{raw(dhcpv4.OptionInterfaceMTU, 2, 64)}, with(func(l *lease) { l.mtu = 576 }), ""},
		{"MTU 65535", []dhcpv4.Option{raw(dhcpv4.OptionInterfaceMTU, 255, 255)}, with(func(l *lease) { l.mtu = 65535 }), ""},
		{"MTU 0", []dhcpv4.Option{raw(dhcpv4.OptionInterfaceMTU, 0, 0)}, plain, "MTU 0"},
		{"MTU 1", []dhcpv4.Option{raw(dhcpv4.OptionInterfaceMTU, 0, 1)}, plain, "MTU 1"},
		{"MTU 68", []dhcpv4.Option{raw(dhcpv4.OptionInterfaceMTU, 0, 68)}, plain, "MTU 68"},
		{"MTU cut off", []dhcpv4.Option{raw(dhcpv4.OptionInterfaceMTU, 5)}, plain, "MTU"},

		{"classless routes before router", []dhcpv4.Option{raw(dhcpv4.OptionClasslessStaticRoute,
			0, 10, 0, 2, 2, // default
			16, 192, 168, 10, 0, 2, 3,
			32, 192, 0, 2, 1, 0, 0, 0, 0, // on the link
			12, 172, 31, 10, 0, 2, 4, // bits beyond the prefix
		)}, with(func(l *lease) {
			l.routes = []Route{route("0.0.0.0/0", "10.0.2.2"), route("192.168.0.0/16", "10.0.2.3"), route("192.0.2.1/32", ""), route("172.16.0.0/12", "10.0.2.4")}
		}), ""},
		{"classless routes without a default", []dhcpv4.Option{raw(dhcpv4.OptionClasslessStaticRoute, 8, 10, 10, 0, 2, 2)},
			with(func(l *lease) { l.routes = []Route{route("10.0.0.0/8", "10.0.2.2")} }), ""},
		{"classless routes cut off", []dhcpv4.Option{raw(dhcpv4.OptionClasslessStaticRoute, 0, 10, 0, 2, 2, 24, 10, 1)}, noRoutes, "Classless Static Route"},
		{"classless routes with a prefix of 33", []dhcpv4.Option{raw(dhcpv4.OptionClasslessStaticRoute, 33, 10, 1, 2, 3, 4, 10, 0, 2, 2)}, noRoutes, "Classless Static Route"},
		{"classless routes empty", []dhcpv4.Option{raw(dhcpv4.OptionClasslessStaticRoute)}, plain, ""},
		{"two default routes", []dhcpv4.Option{raw(dhcpv4.OptionClasslessStaticRoute, 0, 10, 0, 2, 2, 0, 10, 0, 2, 3)},
			with(func(l *lease) { l.routes = []Route{route("0.0.0.0/0", "10.0.2.2")} }), "10.0.2.3"},
		{"classless routes over us", []dhcpv4.Option{raw(dhcpv4.OptionClasslessStaticRoute, 0, 10, 0, 2, 15)}, noRoutes, "10.0.2.15"},
		{"classless route to groups", []dhcpv4.Option{raw(dhcpv4.OptionClasslessStaticRoute, 4, 224, 10, 0, 2, 2)}, noRoutes, "224.0.0.0/4"},
		{"classless route via a group", []dhcpv4.Option{raw(dhcpv4.OptionClasslessStaticRoute, 8, 11, 239, 0, 0, 1)}, noRoutes, "239.0.0.1"},
		{"200 classless routes", []dhcpv4.Option{raw(dhcpv4.OptionClasslessStaticRoute, tooMany...)},
			with(func(l *lease) { l.routes = enough }), "136"},

		{"Microsoft's routes before router", []dhcpv4.Option{raw(microsoftRoutes, 8, 10, 10, 0, 2, 2)},
			with(func(l *lease) { l.routes = []Route{route("10.0.0.0/8", "10.0.2.2")} }), ""},
		{"classless routes before Microsoft's", []dhcpv4.Option{raw(microsoftRoutes, 8, 10, 10, 0, 2, 2), raw(dhcpv4.OptionClasslessStaticRoute, 8, 11, 10, 0, 2, 3)},
			with(func(l *lease) { l.routes = []Route{route("11.0.0.0/8", "10.0.2.3")} }), ""},
		{"Microsoft's routes cut off", []dhcpv4.Option{raw(microsoftRoutes, 8, 10, 10)}, noRoutes, "249"},

		{"names", []dhcpv4.Option{dhcpv4.OptHostName("guest-1\x00"), dhcpv4.OptDomainName("example.com."), raw(dhcpv4.OptionDNSDomainSearchList, 1, 'a', 0, 1, 'b', 0)},
			with(func(l *lease) { l.hostname, l.domain, l.search = "guest-1", "example.com", []string{"a", "b"} }), ""},
		{"names with control characters", []dhcpv4.Option{dhcpv4.OptHostName("\x1b[2J"), dhcpv4.OptDomainName("a\nb"), raw(dhcpv4.OptionDNSDomainSearchList, 1, 7, 0)}, plain, `"\a"`},
		{"domain with a NUL", []dhcpv4.Option{dhcpv4.OptDomainName("example.com\x00")}, with(func(l *lease) { l.domain = "example.com" }), ""},
		{"domain with dots around", []dhcpv4.Option{dhcpv4.OptDomainName(".example.com.")}, with(func(l *lease) { l.domain = "example.com" }), ""},
		{"several domains", []dhcpv4.Option{dhcpv4.OptDomainName("a.example  b.example.")},
			with(func(l *lease) { l.domain, l.search = "a.example", []string{"a.example", "b.example"} }), ""},
		{"several domains, one invalid", []dhcpv4.Option{dhcpv4.OptDomainName("a.example b/c")}, with(func(l *lease) { l.domain = "a.example" }), "b/c"},
		{"several domains beside a search list", []dhcpv4.Option{dhcpv4.OptDomainName("a.example b.example"), raw(dhcpv4.OptionDNSDomainSearchList, 1, 'c', 0)},
			with(func(l *lease) { l.domain, l.search = "a.example", []string{"c"} }), ""},
		{"search list that points to itself", []dhcpv4.Option{raw(dhcpv4.OptionDNSDomainSearchList, 0xc0, 0)}, plain, "DNS Domain Search List"},

		{"no lease time", []dhcpv4.Option{raw(dhcpv4.OptionIPAddressLeaseTime)}, plain, "1h0m0s"},
		{"lease time cut off", []dhcpv4.Option{raw(dhcpv4.OptionIPAddressLeaseTime, 0, 0, 1)}, plain, "1h0m0s"},
		{"lease time 1 s", []dhcpv4.Option{dhcpv4.OptIPAddressLeaseTime(time.Second)},
			with(func(l *lease) { l.time, l.renew, l.rebind = time.Second, 500*time.Millisecond, 875*time.Millisecond }), ""},
		{"lease time 10 s", []dhcpv4.Option{dhcpv4.OptIPAddressLeaseTime(10 * time.Second)},
			with(func(l *lease) { l.time, l.renew, l.rebind = 10*time.Second, 5*time.Second, 8750*time.Millisecond }), ""},
		{"the longest lease with an end", []dhcpv4.Option{raw(dhcpv4.OptionIPAddressLeaseTime, 255, 255, 255, 254)},
			with(func(l *lease) { l.time = forever - time.Second; l.renew, l.rebind = l.time/2, l.time/8*7 }), ""},
		{"lease without end", []dhcpv4.Option{raw(dhcpv4.OptionIPAddressLeaseTime, 255, 255, 255, 255)},
			with(func(l *lease) { l.time, l.renew, l.rebind = 0, 0, 0 }), ""},
		{"T1 and T2", []dhcpv4.Option{raw(dhcpv4.OptionRenewTimeValue, 0, 0, 0, 60), raw(dhcpv4.OptionRebindingTimeValue, 0, 0, 0, 120)},
			with(func(l *lease) { l.renew, l.rebind = time.Minute, 2*time.Minute }), ""},
		{"T1 alone", []dhcpv4.Option{raw(dhcpv4.OptionRenewTimeValue, 0, 0, 0, 1)}, with(func(l *lease) { l.renew = time.Second }), ""},
		{"T1 alone, late", []dhcpv4.Option{raw(dhcpv4.OptionRenewTimeValue, 0, 0, 0x0d, 0xc0)}, // 3520 s
			with(func(l *lease) { l.renew, l.rebind = 3520*time.Second, 3560*time.Second }), ""},
		{"T1 alone, after the end", []dhcpv4.Option{raw(dhcpv4.OptionRenewTimeValue, 0, 0, 255, 0)}, plain, "30m0s and 52m30s"},
		{"T2 alone", []dhcpv4.Option{raw(dhcpv4.OptionRebindingTimeValue, 0, 0, 0x0d, 0xc0)}, with(func(l *lease) { l.rebind = 3520 * time.Second }), ""},
		{"T2 alone, early", []dhcpv4.Option{raw(dhcpv4.OptionRebindingTimeValue, 0, 0, 0, 100)},
			with(func(l *lease) { l.renew, l.rebind = 50*time.Second, 100*time.Second }), ""},
		{"T1 0", []dhcpv4.Option{raw(dhcpv4.OptionRenewTimeValue, 0, 0, 0, 0), raw(dhcpv4.OptionRebindingTimeValue, 0, 0, 0, 120)}, plain, "30m0s and 52m30s"},
		{"T2 before T1", []dhcpv4.Option{raw(dhcpv4.OptionRenewTimeValue, 0, 0, 0, 120), raw(dhcpv4.OptionRebindingTimeValue, 0, 0, 0, 60)}, plain, "30m0s and 52m30s"},
		{"T2 after the end", []dhcpv4.Option{raw(dhcpv4.OptionRenewTimeValue, 0, 0, 0, 60), raw(dhcpv4.OptionRebindingTimeValue, 0, 0, 255, 0)}, plain, "30m0s and 52m30s"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, invalid, err := parseLease(dhclient.NewPacket4(nil, newACK(t, "10.0.2.15", test.options...)))
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, test.want) {
				t.Errorf("got  %+v\nwant %+v", got, test.want)
			}
			text := strings.Join(invalid, "; ")
			if test.invalid == "" && text != "" || !strings.Contains(text, test.invalid) {
				t.Errorf("reported %q, want %q in it", text, test.invalid)
			}
		})
	}
}

func TestUnusableLeases(t *testing.T) {
	for _, address := range []string{"0.0.0.0", "0.1.2.3", "127.0.0.1", "224.0.0.1", "255.255.255.255", "fd00::1"} {
		if l, _, err := parseLease(dhclient.NewPacket4(nil, newACK(t, address))); err == nil {
			t.Errorf("%s: got %+v, want an error", address, l)
		}
	}
	if l, _, err := parseLease(dhclient.NewPacket4(nil, newACK(t, "10.0.2.15", raw(dhcpv4.OptionIPAddressLeaseTime, 0, 0, 0, 0)))); err == nil {
		t.Errorf("for 0 seconds: got %+v, want an error", l)
	}
}

// folded returns a message with further options in its fields file and sname.
func folded(m *dhcpv4.DHCPv4, overload byte, file, sname []byte) []byte {
	m.UpdateOption(raw(dhcpv4.OptionOptionOverload, overload))
	b := m.ToBytes()
	copy(b[108:236], file)
	copy(b[44:108], sname)
	return b
}

func TestUnfold(t *testing.T) {
	const search, unread = dhcpv4.OptionDNSDomainSearchList, dhcpv4.GenericOptionCode(224)
	full := make([]byte, nclient4.MaxMessageSize-340) // file and sname do not fit as well
	router := []byte{3, 4, 10, 0, 2, 8, 255}
	for _, test := range []struct {
		name        string
		overload    byte
		file, sname []byte
		others      []dhcpv4.Option // of the options field
		isEndless   bool            // the options field is without its end
		routers     string
		search      []byte
	}{
		{name: "neither", file: router, sname: router, routers: "[10.0.2.1]"},
		{name: "file", overload: 1, file: router, sname: []byte{3, 4, 10, 0, 2, 9, 255}, routers: "[10.0.2.1 10.0.2.8]"},
		{name: "sname", overload: 2, file: router, sname: []byte{3, 4, 10, 0, 2, 9, 255}, routers: "[10.0.2.1 10.0.2.9]"},
		{name: "both, in pieces", overload: 3, file: []byte{3, 4, 10, 0, 2, 8, 0, 0, 119, 1, 7}, sname: []byte{119, 1, 8}, routers: "[10.0.2.1 10.0.2.8]", search: []byte{7, 8}},
		{name: "an option that does not end", overload: 1, file: []byte{3, 200, 10, 0, 2, 8}, routers: "[10.0.2.1]"},
		{name: "no end", overload: 1, file: router, isEndless: true, routers: "[10.0.2.1 10.0.2.8]"},
		{name: "full", overload: 1, file: router, others: []dhcpv4.Option{raw(unread, full...)}, routers: "[10.0.2.1 10.0.2.8]"},
		{name: "too long", overload: 1, file: append([]byte{3, 4, 10, 0, 2, 8, 119, 100}, make([]byte, 100)...),
			others: []dhcpv4.Option{raw(search, full...)}, routers: "[10.0.2.1]", search: full},
	} {
		t.Run(test.name, func(t *testing.T) {
			ack := newACK(t, "10.0.2.15")
			for _, o := range test.others {
				ack.UpdateOption(o)
			}
			b := folded(ack, test.overload, test.file, test.sname)
			if test.isEndless {
				b = b[:bytes.LastIndexByte(b, dhcpv4.OptionEnd.Code())]
			}
			b = unfold(b)
			m, err := dhcpv4.FromBytes(b)
			if err != nil {
				t.Fatal(err)
			}
			if got := fmt.Sprint(m.Router()); got != test.routers {
				t.Errorf("routers %s, want %s", got, test.routers)
			}
			if got := m.Options.Get(search); !bytes.Equal(got, test.search) {
				t.Errorf("the search list has %d bytes, want %d", len(got), len(test.search))
			}
			if m.MessageType() != dhcpv4.MessageTypeAck || !m.ServerIdentifier().Equal(ack.ServerIdentifier()) || m.IPAddressLeaseTime(0) != ack.IPAddressLeaseTime(0) {
				t.Errorf("the message is %s", m.Summary())
			}
			if len(b) > nclient4.MaxMessageSize {
				t.Errorf("the message has %d bytes", len(b))
			}
		})
	}
}

func TestComplete(t *testing.T) {
	previous := []dhcpv4.Option{raw(dhcpv4.OptionSubnetMask, 255, 255, 240, 0), raw(dhcpv4.OptionRouter, 10, 0, 2, 2), raw(dhcpv4.OptionIPAddressLeaseTime, 0, 0, 0, 100),
		raw(dhcpv4.OptionRenewTimeValue, 0, 0, 0, 20), raw(dhcpv4.OptionRebindingTimeValue, 0, 0, 0, 30)}
	routes := raw(dhcpv4.OptionClasslessStaticRoute, 0, 10, 0, 2, 3)
	for _, test := range []struct {
		name      string
		has, want []dhcpv4.Option
	}{
		{"nothing", nil, previous},
		{"the lease time", []dhcpv4.Option{raw(dhcpv4.OptionIPAddressLeaseTime, 0, 0, 0, 50)}, append(previous[:2:2], raw(dhcpv4.OptionIPAddressLeaseTime, 0, 0, 0, 50))},
		{"other routes", []dhcpv4.Option{routes}, append([]dhcpv4.Option{previous[0], routes}, previous[2:]...)},
		{"everything", previous, previous},
	} {
		t.Run(test.name, func(t *testing.T) {
			ack := &dhcpv4.DHCPv4{Options: dhcpv4.OptionsFromList(test.has...)}
			complete(ack, &dhcpv4.DHCPv4{Options: dhcpv4.OptionsFromList(previous...)})
			if want := dhcpv4.OptionsFromList(test.want...); !bytes.Equal(ack.Options.ToBytes(), want.ToBytes()) {
				t.Errorf("the ACK has %s, want %s", ack.Options, want)
			}
		})
	}
}

func TestAfterConflict(t *testing.T) {
	for conflicts, want := range map[int]time.Duration{1: 10 * time.Second, 9: 10 * time.Second, 10: time.Minute, 100: time.Minute} {
		if got := afterConflict(conflicts); got != want {
			t.Errorf("after %d conflicts %v, want %v", conflicts, got, want)
		}
	}
}
