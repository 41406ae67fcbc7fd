//go:build vmtest

package vmtests

import (
	"bytes"
	"cmp"
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
	"github.com/insomniacslk/dhcp/rfc1035label"
)

// dhcpCase is what a server or a network does, and what must then hold in the guest. The server is 10.9.0.1, as a router and a name
// server, too. It leases for an hour.
type dhcpCase struct {
	name    string
	options []dhcpv4.Option // add to or replace the router, the name server, the mask and the lease time
	server  string          // the server identifier, if not the server's address
	edit    func(*dhcpv4.DHCPv4)
	faults  []dhcppeer.Fault

	refused bool          // the guest must not take the offers
	bits    int           // the length of the address's prefix, by default 24
	routes  []string      // beside the connected one, by default that via the server; one empty string for none
	mtu     int           // by default 1500
	lasts   time.Duration // the lease, by default an hour; negative for a lease without end
	t1, t2  time.Duration // by default half of it and seven eighths
	names   string        // "domain [search list] host name", as far as they are set
	dns     string        // by default the server, or "none"

	then func(t *testing.T, m *machine, s talk, address netip.Addr) // looks further
}

// generic returns an option of these bytes.
func generic(code uint8, value ...byte) dhcpv4.Option {
	return option(dhcpv4.GenericOptionCode(code), value...)
}

// text returns an option of that text.
func text(code uint8, value string) dhcpv4.Option { return generic(code, []byte(value)...) }

func lacking(codes ...dhcpv4.OptionCode) func(*dhcpv4.DHCPv4) {
	return func(m *dhcpv4.DHCPv4) {
		for _, code := range codes {
			m.Options.Del(code)
		}
	}
}

// preceded sends in front of each OFFER and ACK a copy that leases another address, spoiled.
func preceded(spoil func(*dhcppeer.Reply)) dhcppeer.Fault {
	return func(e *dhcppeer.Exchange) {
		var replies []dhcppeer.Reply
		for _, r := range e.Replies {
			if r.Type != dhcpv4.MessageTypeNak {
				bad := r
				bad.Payload = bytes.Clone(r.Payload)
				copy(bad.Payload[16:], []byte{10, 9, 0, 250}) // yiaddr
				spoil(&bad)
				replies = append(replies, bad)
			}
			replies = append(replies, r)
		}
		e.Replies = replies
	}
}

// spoiled is preceded for the bytes of the message.
func spoiled(spoil func(payload []byte) []byte) dhcppeer.Fault {
	return preceded(func(bad *dhcppeer.Reply) { bad.Payload = spoil(bad.Payload) })
}

// repacked is preceded for the packet of the message.
func repacked(f func(packet []byte) [][]byte) dhcppeer.Fault {
	return preceded(func(bad *dhcppeer.Reply) { bad.Repack = f })
}

// retyped returns a spoiler that replaces option 53.
func retyped(with ...byte) func([]byte) []byte {
	return options(func(o []byte) []byte {
		at := bytes.Index(o, []byte{53, 1})
		return slices.Concat(o[:at], with, o[at+3:])
	})
}

// reworded changes the options of the OFFER, or of the ACK after it.
func reworded(kind dhcppeer.Kind, modifiers ...dhcpv4.Modifier) dhcppeer.Fault {
	return dhcppeer.On(func(e *dhcppeer.Exchange) {
		for i, r := range e.Replies {
			e.Replies[i] = e.Reply(r.Type, modifiers...)
		}
	}, kind)
}

// options returns a spoiler of a message's options only.
func options(spoil func(options []byte) []byte) func([]byte) []byte {
	return func(payload []byte) []byte { return append(payload[:240], spoil(payload[240:])...) }
}

// ended returns options up to the option 255.
func ended(options []byte) []byte {
	for i := 0; i < len(options); {
		switch options[i] {
		case 255:
			return options[:i]
		case 0:
			i++
		default:
			i += 2 + int(options[i+1])
		}
	}
	return options
}

// replaced returns a spoiler that replaces bytes of a message.
func replaced(at int, with ...byte) func([]byte) []byte {
	return func(payload []byte) []byte { copy(payload[at:], with); return payload }
}

// clientFields fills in a type of hardware, flags and ciaddr. The client must not repeat them, which "every message" checks.
var clientFields = dhcppeer.Rewrite(func(_ *dhcpv4.DHCPv4, reply []byte) []byte {
	reply = replaced(1, 6)(bytes.Clone(reply))
	return replaced(10, 0x80, 1, 10, 9, 0, 99)(reply)
})

// extra answers each DISCOVER or REQUEST with what f returns, before the good reply.
func extra(kind dhcppeer.Kind, f func(*dhcppeer.Exchange) dhcppeer.Reply) dhcppeer.Fault {
	return dhcppeer.On(func(e *dhcppeer.Exchange) { e.Replies = append([]dhcppeer.Reply{f(e)}, e.Replies...) }, kind)
}

// atFirst applies a fault to the first message of a kind.
func atFirst(fault dhcppeer.Fault, kind dhcppeer.Kind) dhcppeer.Fault {
	done := false
	return dhcppeer.On(func(e *dhcppeer.Exchange) {
		if !done {
			done = true
			fault(e)
		}
	}, kind)
}

// renewed waits until the server has acknowledged a request of that kind, and returns the request.
func renewed(t *testing.T, s talk, kind dhcppeer.Kind) dhcppeer.Message {
	t.Helper()
	eventually(t, func() string {
		if !slices.ContainsFunc(s.Replies(), func(r dhcppeer.Reply) bool { return r.To == kind && r.Type == dhcpv4.MessageTypeAck }) {
			return fmt.Sprintf("the guest has sent %q, want a %s with an ACK", s.kinds(), kind)
		}
		return ""
	})
	return s.of(kind)[0]
}

// keeps checks that the guest renews as kind, and keeps the lease that it has.
func keeps(kind dhcppeer.Kind) func(*testing.T, *machine, talk, netip.Addr) {
	return func(t *testing.T, m *machine, s talk, address netip.Addr) {
		before := network(t, m)["eth0"].ConfiguredNS
		request := renewed(t, s, kind)
		if request.From != address || !request.ClientIPAddr.Equal(address.AsSlice()) || request.ServerIdentifier() != nil || request.RequestedIPAddress() != nil {
			t.Errorf("the request is from %s: %s", request.From, request.Summary())
		}
		more := len(s.of(kind)) + 1
		eventually(t, func() string {
			if n := len(s.of(kind)); n < more {
				return fmt.Sprintf("%d times %s, want %d: the ACK does not count", n, kind, more)
			}
			return ""
		})
		answers(t, &s.Host, address)
		if n := network(t, m)["eth0"]; n.ConfiguredNS != before || len(n.Addresses) != 1 || n.Addresses[0].Addr() != address {
			t.Errorf("the lease was lost for a while: %+v", n)
		}
	}
}

const viaServer = "default via 10.9.0.1 dev eth0 proto dhcp"

var (
	soon      = generic(58, 0, 0, 0, 1) // T1
	twoRoutes = dhcpv4.OptClasslessStaticRoute(route("0.0.0.0/0", "10.9.0.1"), route("172.18.0.0/24", "10.9.0.1"))
	both      = []string{viaServer, "172.18.0.0/24 via 10.9.0.1 dev eth0 proto dhcp"}
	noRoute   = []string{""}

	sixtyFive, sixtyFour = manyRoutes(65, 64)
)

// manyRoutes returns option 121 with that many routes, and the first of them as the guest shows them.
func manyRoutes(n, first int) (option dhcpv4.Option, shown []string) {
	var routes []*dhcpv4.Route
	for i := range n {
		to := fmt.Sprintf("172.18.%d.0/24", i)
		routes = append(routes, route(to, "10.9.0.1"))
		if i < first {
			shown = append(shown, to+" via 10.9.0.1 dev eth0 proto dhcp")
		}
	}
	return dhcpv4.OptClasslessStaticRoute(routes...), shown
}

// servers returns option 6 with these addresses.
func servers(addresses ...string) dhcpv4.Option {
	var ips []net.IP
	for _, a := range addresses {
		ips = append(ips, net.ParseIP(a))
	}
	return dhcpv4.OptDNS(ips...)
}

var dhcpCases = []dhcpCase{
	{name: "what the guest sends", then: testSent},

	// Times.
	{name: "one second", options: []dhcpv4.Option{dhcpv4.OptIPAddressLeaseTime(time.Second)}, lasts: time.Second, then: func(t *testing.T, m *machine, s talk, address netip.Addr) {
		renewed(t, s, dhcppeer.Renewing)
		answers(t, &s.Host, address)
	}},
	{name: "ten seconds", options: []dhcpv4.Option{dhcpv4.OptIPAddressLeaseTime(10 * time.Second)}, lasts: 10 * time.Second},
	{name: "without end", options: []dhcpv4.Option{generic(51, 255, 255, 255, 255)}, lasts: -1, then: func(t *testing.T, m *machine, s talk, address netip.Addr) {
		if shown := m.ip(t, "-4", "address", "show", "dev", "eth0"); !strings.Contains(shown, "valid_lft forever") {
			t.Errorf("the lease has no end, and ip says\n%s", shown)
		}
	}},
	{name: "no lease time", edit: lacking(dhcpv4.OptionIPAddressLeaseTime)},
	{name: "no time at all", options: []dhcpv4.Option{dhcpv4.OptIPAddressLeaseTime(0)}, refused: true},
	{name: "T1 alone", options: []dhcpv4.Option{dhcpv4.OptRenewTimeValue(600 * time.Second)}, t1: 600 * time.Second},
	{name: "a late T1 alone", options: []dhcpv4.Option{dhcpv4.OptRenewTimeValue(3400 * time.Second)}, t1: 3400 * time.Second, t2: 3500 * time.Second},
	{name: "T2 alone", options: []dhcpv4.Option{dhcpv4.OptRebindingTimeValue(3000 * time.Second)}, t2: 3000 * time.Second},
	{name: "T2 before T1", options: []dhcpv4.Option{dhcpv4.OptRenewTimeValue(3000 * time.Second), dhcpv4.OptRebindingTimeValue(2000 * time.Second)}},
	{name: "T1 after the end", options: []dhcpv4.Option{dhcpv4.OptRenewTimeValue(3700 * time.Second), dhcpv4.OptRebindingTimeValue(3800 * time.Second)}},

	// Routes.
	{name: "option 121 and no router", options: []dhcpv4.Option{twoRoutes}, edit: lacking(dhcpv4.OptionRouter), routes: both},
	{name: "option 249", options: []dhcpv4.Option{dhcpv4.OptGeneric(dhcpv4.GenericOptionCode(249), twoRoutes.Value.ToBytes())}, routes: both},
	{name: "option 249 beside 121", options: []dhcpv4.Option{twoRoutes, dhcpv4.OptGeneric(dhcpv4.GenericOptionCode(249), dhcpv4.OptClasslessStaticRoute(route("172.19.0.0/24", "10.9.0.1")).Value.ToBytes())}, routes: both},
	{name: "the router beside other routes", options: []dhcpv4.Option{dhcpv4.OptClasslessStaticRoute(route("172.18.0.0/24", "10.9.0.1"))}, routes: both[1:]},
	{name: "a router beside a broken 121", options: []dhcpv4.Option{generic(121, 24, 172, 18, 0, 10, 9)}, routes: noRoute},
	{name: "routes of impossible lengths", options: []dhcpv4.Option{generic(121, 255, 172, 18, 0, 0, 10, 9, 0, 1)}, routes: noRoute},
	{name: "bits of a route beyond its length", options: []dhcpv4.Option{generic(121, 12, 172, 18, 10, 9, 0, 1)}, routes: []string{"172.16.0.0/12 via 10.9.0.1 dev eth0 proto dhcp"}},
	{name: "a router outside the subnet", options: []dhcpv4.Option{dhcpv4.OptRouter(net.IPv4(10, 11, 12, 13))}, routes: []string{"default via 10.11.12.13 dev eth0 proto dhcp onlink"}},
	{name: "several routers", options: []dhcpv4.Option{dhcpv4.OptRouter(net.IPv4zero, net.IPv4(10, 9, 0, 7), net.IPv4(10, 9, 0, 8))}, routes: []string{"default via 10.9.0.7 dev eth0 proto dhcp"}},
	{name: "no router", edit: lacking(dhcpv4.OptionRouter), routes: noRoute},

	// Names.
	{name: "a domain of several names", options: []dhcpv4.Option{dhcpv4.OptDomainName("a.example b.example")}, names: "a.example [a.example b.example] "},
	{name: "a domain of several names beside option 119", options: []dhcpv4.Option{dhcpv4.OptDomainName("a.example b.example"), dhcpv4.OptDomainSearch(&rfc1035label.Labels{Labels: []string{"c.example"}})}, names: "a.example [c.example] "},
	{name: "dots around names", options: []dhcpv4.Option{dhcpv4.OptDomainName(".a.example."), dhcpv4.OptHostName("guest.")}, names: "a.example [] guest"},
	{name: "names that end with NUL", options: []dhcpv4.Option{text(15, "a.example\x00"), text(12, "guest\x00")}, names: "a.example [] guest"},
	{name: "names that are not ASCII", options: []dhcpv4.Option{text(15, "b\xfccher.example"), text(12, "g\xc3\xa4st"), text(66, "\xff")}},
	{name: "names with a shell's characters", options: []dhcpv4.Option{text(15, "a.example;reboot"), text(12, "$(reboot)")}},
	{name: "a search list that refers to itself", options: []dhcpv4.Option{generic(119, 1, 'a', 0xc0, 0)}},

	// MTU.
	{name: "MTU 1400", options: []dhcpv4.Option{withMTU(1400)}, mtu: 1400, then: ipv6(true)},
	{name: "MTU below IPv6's", options: []dhcpv4.Option{withMTU(1000)}, mtu: 1000, then: ipv6(false)},
	{name: "MTU as before, with IPv6", then: ipv6(true)},
	{name: "MTU 68", options: []dhcpv4.Option{withMTU(68)}},

	// Where options are.
	{name: "options in file", options: []dhcpv4.Option{dhcpv4.OptDomainName("a.example")}, faults: []dhcppeer.Fault{
		dhcppeer.Overload([]dhcpv4.OptionCode{dhcpv4.OptionDomainName, dhcpv4.OptionSubnetMask}, nil)}, names: "a.example [] "},
	{name: "options in sname", options: []dhcpv4.Option{dhcpv4.OptDomainName("a.example")}, faults: []dhcppeer.Fault{
		dhcppeer.Overload(nil, []dhcpv4.OptionCode{dhcpv4.OptionDomainName, dhcpv4.OptionRouter})}, names: "a.example [] "},
	{name: "options in file and sname", options: []dhcpv4.Option{dhcpv4.OptDomainName("a.example"), twoRoutes}, faults: []dhcppeer.Fault{
		dhcppeer.Overload([]dhcpv4.OptionCode{dhcpv4.OptionClasslessStaticRoute}, []dhcpv4.OptionCode{dhcpv4.OptionDomainName})}, names: "a.example [] ", routes: both},
	{name: "option 121 in pieces", options: []dhcpv4.Option{twoRoutes}, faults: []dhcppeer.Fault{dhcppeer.Pieces(dhcpv4.OptionClasslessStaticRoute, 5)}, routes: both},
	{name: "a domain in pieces", options: []dhcpv4.Option{dhcpv4.OptDomainName("a.example")}, faults: []dhcppeer.Fault{dhcppeer.Pieces(dhcpv4.OptionDomainName, 1)}, names: "a.example [] "},
	{name: "file that ends in the middle of an option", options: []dhcpv4.Option{generic(52, 1)}, edit: func(m *dhcpv4.DHCPv4) { m.BootFileName = "\x0f\xffa.example" }},
	{name: "overload of nothing", options: []dhcpv4.Option{generic(52, 3)}},
	{name: "overload of an unknown kind", options: []dhcpv4.Option{generic(52, 255, 1)}},
	{name: "padding between options", faults: []dhcppeer.Fault{dhcppeer.Raw(func(o []byte) []byte { return slices.Concat([]byte{0, 0, 0}, ended(o), []byte{0, 0, 255}) })}},
	{name: "garbage after the end", faults: []dhcppeer.Fault{dhcppeer.Raw(func(o []byte) []byte { return append(ended(o), 255, 3, 4, 10, 9, 0, 99, 53, 1, 6) })}},
	{name: "options of no length", options: []dhcpv4.Option{text(47, ""), text(15, ""), text(12, "")}},
	{name: "options of wrong lengths", options: []dhcpv4.Option{generic(1, 255, 255, 255), generic(3, 10, 9, 0), generic(6, 10, 9, 0, 1, 10), generic(26, 5), generic(58, 1)},
		routes: noRoute, dns: "none"},
	{name: "options that nobody asked for", options: []dhcpv4.Option{generic(43, 1, 255), generic(81, 3, 255, 0), generic(162, 255, 255, 0), text(252, "http://a.example/wpad.dat"), generic(212, 32, 255)}},
	{name: "the largest message", options: []dhcpv4.Option{generic(224, make([]byte, 1100)...)}, names: "a.example [] ", edit: dhcpv4.WithOption(dhcpv4.OptDomainName("a.example"))},

	// Messages that are not for this guest, or not messages.
	{name: "options without an end", faults: []dhcppeer.Fault{spoiled(options(ended))}},
	{name: "an option longer than the message", faults: []dhcppeer.Fault{spoiled(options(func(o []byte) []byte { return append(ended(o), 224, 200, 1) }))}},
	{name: "an option without a length", faults: []dhcppeer.Fault{spoiled(options(func(o []byte) []byte { return append(ended(o), 224) }))}},
	{name: "half a header", faults: []dhcppeer.Fault{spoiled(func(payload []byte) []byte { return payload[:100] })}},
	{name: "an empty datagram", faults: []dhcppeer.Fault{spoiled(func(payload []byte) []byte { return nil })}},
	{name: "another cookie", faults: []dhcppeer.Fault{spoiled(replaced(236, 1))}},
	{name: "another transaction", faults: []dhcppeer.Fault{spoiled(replaced(4, 1, 2, 3, 4))}},
	{name: "a request, not a reply", faults: []dhcppeer.Fault{spoiled(replaced(0, 1))}},
	{name: "for another MAC address", faults: []dhcppeer.Fault{spoiled(replaced(28, 2, 2, 2, 2, 2, 2))}},
	{name: "for another client of this MAC address", faults: []dhcppeer.Fault{
		extra(dhcppeer.Discover, ofAnother(dhcpv4.MessageTypeOffer)), extra(dhcppeer.Selecting, ofAnother(dhcpv4.MessageTypeAck))}},
	{name: "NAK for another client of this MAC address", faults: []dhcppeer.Fault{extra(dhcppeer.Selecting, ofAnother(dhcpv4.MessageTypeNak))}, then: inOneGo},
	{name: "NAK of another server", faults: []dhcppeer.Fault{extra(dhcppeer.Selecting, func(e *dhcppeer.Exchange) dhcppeer.Reply {
		return e.Reply(dhcpv4.MessageTypeNak, dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.IPv4(10, 9, 0, 2))))
	})}, then: inOneGo},
	{name: "ACK of another server", faults: []dhcppeer.Fault{extra(dhcppeer.Selecting, func(e *dhcppeer.Exchange) dhcppeer.Reply {
		return e.Reply(dhcpv4.MessageTypeAck, dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.IPv4(10, 9, 0, 2))), dhcpv4.WithYourIP(net.IPv4(10, 9, 0, 250)))
	})}, then: inOneGo},
	{name: "bytes after the MAC address", faults: []dhcppeer.Fault{dhcppeer.Rewrite(func(_ *dhcpv4.DHCPv4, reply []byte) []byte {
		return replaced(34, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10)(bytes.Clone(reply))
	})}},

	// Servers and networks.
	{name: "NAK after the offer", faults: []dhcppeer.Fault{atFirst(dhcppeer.Refuse, dhcppeer.Selecting)}, then: startsOver},
	{name: "an ACK after a second", faults: []dhcppeer.Fault{dhcppeer.On(dhcppeer.Delay(time.Second), dhcppeer.Selecting)}, then: countsFromRequest},
	{name: "an answer that is lost", faults: []dhcppeer.Fault{atFirst(dhcppeer.Silent, dhcppeer.Discover), atFirst(dhcppeer.Silent, dhcppeer.Selecting)}},
	{name: "everything twice", faults: []dhcppeer.Fault{dhcppeer.Duplicate}, then: inOneGo},
	{name: "twenty offers", faults: []dhcppeer.Fault{dhcppeer.Flood(20)}, then: inOneGo},
	{name: "an offer of no host's address", edit: func(m *dhcpv4.DHCPv4) { m.YourIPAddr = net.IPv4zero.To4() }, refused: true},
	{name: "an offer of a group's address", edit: func(m *dhcpv4.DHCPv4) { m.YourIPAddr = net.IPv4(224, 0, 0, 1).To4() }, refused: true},
	{name: "a good offer after a bad one", faults: []dhcppeer.Fault{extra(dhcppeer.Discover, func(e *dhcppeer.Exchange) dhcppeer.Reply {
		return e.Reply(dhcpv4.MessageTypeOffer, dhcpv4.WithYourIP(net.IPv4zero))
	})}},
	{name: "broadcasts only", faults: []dhcppeer.Fault{dhcppeer.Broadcast}, options: []dhcpv4.Option{soon}, t1: time.Second, then: keeps(dhcppeer.Renewing)},
	{name: "checksums that nobody filled in", faults: []dhcppeer.Fault{dhcppeer.Unfinished}, options: []dhcpv4.Option{soon}, t1: time.Second, then: keeps(dhcppeer.Renewing)},
	{name: "a sender that is not the server", faults: []dhcppeer.Fault{dhcppeer.From(netip.MustParseAddr("10.9.0.2"))}, options: []dhcpv4.Option{soon}, t1: time.Second, then: keeps(dhcppeer.Renewing)},
	{name: "a server behind the router", server: "192.0.2.9", options: []dhcpv4.Option{soon}, t1: time.Second, then: func(t *testing.T, m *machine, s talk, address netip.Addr) {
		if to := renewed(t, s, dhcppeer.Renewing).To; to != netip.MustParseAddr("192.0.2.9") {
			t.Errorf("the guest renewed with %s", to)
		}
		keeps(dhcppeer.Renewing)(t, m, s, address)
	}},
	{name: "no server identifier", edit: lacking(dhcpv4.OptionServerIdentifier), options: []dhcpv4.Option{soon}, t1: time.Second, then: func(t *testing.T, m *machine, s talk, address netip.Addr) {
		if n := len(s.of(dhcppeer.Selecting)); n > 0 {
			t.Errorf("%d REQUESTs name a server", n)
		}
		keeps(dhcppeer.Rebinding)(t, m, s, address)
	}},
	{name: "a relay", edit: func(m *dhcpv4.DHCPv4) { m.GatewayIPAddr = net.IPv4(10, 9, 0, 254).To4(); m.HopCount = 3 }},
	{name: "a boot server", edit: func(m *dhcpv4.DHCPv4) {
		m.ServerIPAddr, m.BootFileName, m.ServerHostName = net.IPv4(10, 9, 0, 253).To4(), "boot.img", "boot.example"
	}},
	{name: "FORCERENEW", then: ignored(9)}, // RFC 3203 section 4
	{name: "ACK and NAK while bound", then: ignored(dhcpv4.MessageTypeAck, dhcpv4.MessageTypeNak)},
	{name: "renewed with fewer options", options: []dhcpv4.Option{soon, dhcpv4.OptDomainName("a.example"), dhcpv4.OptDomainSearch(&rfc1035label.Labels{Labels: []string{"c.example"}})},
		t1: time.Second, names: "a.example [c.example] ", then: func(t *testing.T, m *machine, s talk, address netip.Addr) {
			l := leaseOf(netip.PrefixFrom(address, 24).String(), time.Hour, soon, dhcpv4.OptDomainName("b.example"))
			s.Lease(l)
			c := dhcpCase{t1: time.Second, names: "b.example [c.example] "}
			eventually(t, func() string { return c.complaint(t, m, address) })
			keeps(dhcppeer.Renewing)(t, m, s, address)
		}},
	{name: "renewed with the times alone", options: []dhcpv4.Option{soon, twoRoutes, dhcpv4.OptSubnetMask(net.CIDRMask(20, 32)), dhcpv4.OptDomainName("a.example")},
		bits: 20, t1: time.Second, names: "a.example [] ", routes: both, then: func(t *testing.T, m *machine, s talk, address netip.Addr) {
			l := leaseOf(netip.PrefixFrom(address, 20).String(), 1000*time.Second, generic(58, 0, 0, 0, 2))
			l.Edit = lacking(dhcpv4.OptionSubnetMask, dhcpv4.OptionClasslessStaticRoute, dhcpv4.OptionRouter, dhcpv4.OptionDomainNameServer, dhcpv4.OptionDomainName)
			s.Lease(l)
			c := dhcpCase{bits: 20, lasts: 1000 * time.Second, t1: 2 * time.Second, names: "a.example [] ", routes: both}
			eventually(t, func() string { return c.complaint(t, m, address) })
			keeps(dhcppeer.Renewing)(t, m, s, address)
		}},
	{name: "renewed without a server identifier", options: []dhcpv4.Option{soon}, t1: time.Second, then: func(t *testing.T, m *machine, s talk, address netip.Addr) {
		l := leaseOf(netip.PrefixFrom(address, 24).String(), time.Hour, soon)
		l.Edit = lacking(dhcpv4.OptionServerIdentifier)
		s.Lease(l)
		keeps(dhcppeer.Renewing)(t, m, s, address)
	}},
	{name: "rebound by another server", options: []dhcpv4.Option{soon, dhcpv4.OptRebindingTimeValue(2 * time.Second)}, t1: time.Second, t2: 2 * time.Second,
		faults: []dhcppeer.Fault{dhcppeer.On(dhcppeer.Silent, dhcppeer.Renewing), dhcppeer.On(func(e *dhcppeer.Exchange) {
			e.Replies = []dhcppeer.Reply{e.Reply(dhcpv4.MessageTypeAck, dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.IPv4(10, 9, 0, 2))),
				dhcpv4.WithOption(dhcpv4.OptRenewTimeValue(1800*time.Second)), dhcpv4.WithOption(dhcpv4.OptRebindingTimeValue(3150*time.Second)))}
			dhcppeer.From(netip.MustParseAddr("10.9.0.2"))(e)
		}, dhcppeer.Rebinding)},
		then: func(t *testing.T, m *machine, s talk, address netip.Addr) {
			if request := renewed(t, s, dhcppeer.Rebinding); request.From != address || request.To.String() != "255.255.255.255" {
				t.Errorf("rebinding was sent from %s to %s", request.From, request.To)
			}
			eventually(t, func() string {
				if n := network(t, m)["eth0"]; n.Server != netip.MustParseAddr("10.9.0.2") || n.State != netd.StateBound {
					return fmt.Sprintf("the guest is %s by %s", n.State, n.Server)
				}
				return ""
			})
			answers(t, &s.Host, address)
		}},
	{name: "a mask with holes", options: []dhcpv4.Option{dhcpv4.OptSubnetMask(net.IPv4Mask(255, 0, 255, 0))}},
	{name: "no mask", edit: lacking(dhcpv4.OptionSubnetMask)},
	{name: "a short mask", options: []dhcpv4.Option{dhcpv4.OptSubnetMask(net.CIDRMask(16, 32))}, bits: 16},

	// Packets.
	{name: "no UDP checksum", faults: []dhcppeer.Fault{dhcppeer.Repack(dhcppeer.Unchecked)}, options: []dhcpv4.Option{soon}, t1: time.Second, then: keeps(dhcppeer.Renewing)},
	{name: "bytes after the packet", faults: []dhcppeer.Fault{dhcppeer.Repack(dhcppeer.Trailed)}},
	{name: "bytes after the datagram", faults: []dhcppeer.Fault{dhcppeer.Repack(dhcppeer.Surplus)}},
	{name: "options in the IP header", faults: []dhcppeer.Fault{dhcppeer.Repack(dhcppeer.HeaderOptions)}, options: []dhcpv4.Option{soon}, t1: time.Second, then: keeps(dhcppeer.Renewing)},
	{name: "a reply in fragments", faults: []dhcppeer.Fault{repacked(dhcppeer.Fragments(280))}},
	{name: "replies without a client identifier", edit: lacking(dhcpv4.OptionClientIdentifier)},
	{name: "a reply shorter than BOOTP's", faults: []dhcppeer.Fault{dhcppeer.Raw(func(o []byte) []byte { return append(ended(o), 255) })}},
	{name: "a relay that broadcasts", edit: func(m *dhcpv4.DHCPv4) { m.GatewayIPAddr = net.IPv4(10, 9, 0, 254).To4() },
		faults: []dhcppeer.Fault{dhcppeer.Broadcast, dhcppeer.From(netip.MustParseAddr("10.9.0.254"))}},

	// What is there twice, or not at all.
	{name: "no message type, as BOOTP", faults: []dhcppeer.Fault{spoiled(retyped())}},
	{name: "a message type of no length", faults: []dhcppeer.Fault{spoiled(retyped(53, 0))}},
	{name: "a message type of two bytes", faults: []dhcppeer.Fault{spoiled(retyped(53, 2, 2, 5))}},
	{name: "two message types", faults: []dhcppeer.Fault{spoiled(retyped(53, 1, 2, 53, 1, 5))}},
	{name: "no MAC address", faults: []dhcppeer.Fault{spoiled(replaced(2, 0))}},
	{name: "overload twice", options: []dhcpv4.Option{generic(52, 1, 2)}, faults: []dhcppeer.Fault{dhcppeer.Pieces(dhcpv4.OptionOptionOverload, 1)},
		edit: func(m *dhcpv4.DHCPv4) { m.BootFileName = "\x0f\x09a.example\xff" }},
	{name: "the server identifier 0.0.0.0", server: "0.0.0.0", options: []dhcpv4.Option{soon}, t1: time.Second, then: keeps(dhcppeer.Rebinding)},
	{name: "two server identifiers", options: []dhcpv4.Option{soon, generic(54, 10, 9, 0, 1, 10, 9, 0, 2)}, t1: time.Second, then: keeps(dhcppeer.Renewing)},
	{name: "the server identifier 255.255.255.255", server: "255.255.255.255", options: []dhcpv4.Option{soon}, t1: time.Second, then: keeps(dhcppeer.Rebinding)},

	// An ACK that is not as the OFFER before it.
	{name: "ACK in place of an OFFER", faults: []dhcppeer.Fault{extra(dhcppeer.Discover, func(e *dhcppeer.Exchange) dhcppeer.Reply {
		return e.Reply(dhcpv4.MessageTypeAck, dhcpv4.WithYourIP(net.IPv4(10, 9, 0, 250)))
	})}, then: inOneGo},
	{name: "ACK of another address", faults: []dhcppeer.Fault{reworded(dhcppeer.Discover, dhcpv4.WithYourIP(net.IPv4(10, 9, 0, 250))),
		dhcppeer.On(dhcppeer.Readdress, dhcppeer.Selecting)}},
	{name: "ACK of other times", faults: []dhcppeer.Fault{reworded(dhcppeer.Discover, dhcpv4.WithLeaseTime(60),
		dhcpv4.WithOption(dhcpv4.OptRouter(net.IPv4(10, 9, 0, 99))), dhcpv4.WithOption(dhcpv4.OptDNS(net.IPv4(10, 9, 0, 99))))}},
	{name: "ACK without a lease time", options: []dhcpv4.Option{dhcpv4.OptIPAddressLeaseTime(2 * time.Hour)},
		faults: []dhcppeer.Fault{reworded(dhcppeer.Selecting, lacking(dhcpv4.OptionIPAddressLeaseTime))}},
	{name: "ACK of nothing but an address", faults: []dhcppeer.Fault{reworded(dhcppeer.Selecting, lacking(dhcpv4.OptionRouter, dhcpv4.OptionDomainNameServer,
		dhcpv4.OptionSubnetMask, dhcpv4.OptionIPAddressLeaseTime, dhcpv4.OptionServerIdentifier))}, routes: noRoute, dns: "none"},
	{name: "an earlier address, from another server", then: func(t *testing.T, m *machine, s talk, address netip.Addr) {
		s.Behave(reworded(dhcppeer.InitReboot, dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.IPv4(10, 9, 0, 2)))))
		must[none](t, m, "SetClock", 2*time.Second)
		eventually(t, func() string {
			if n := network(t, m)["eth0"]; n.Server != netip.MustParseAddr("10.9.0.2") || n.State != netd.StateBound {
				return fmt.Sprintf("the guest is %s by %s", n.State, n.Server)
			}
			return ""
		})
		inOneGo(t, m, s, address)
	}},
	{name: "renewed by an ACK after a second", options: []dhcpv4.Option{soon}, t1: time.Second, faults: []dhcppeer.Fault{dhcppeer.On(dhcppeer.Delay(time.Second), dhcppeer.Renewing)},
		then: func(t *testing.T, m *machine, _ talk, _ netip.Addr) {
			first := network(t, m)["eth0"].Obtained
			eventually(t, func() string {
				n := network(t, m)["eth0"]
				if n.Obtained.Equal(first) {
					return "the lease was not renewed"
				}
				if age := must[time.Time](t, m, "Clock", none{}).Sub(n.Obtained); age < 900*time.Millisecond {
					t.Errorf("the renewed lease is %v old, and the ACK came a second after the REQUEST", age)
				}
				return ""
			})
		}},
	{name: "ACK and then NAK", faults: []dhcppeer.Fault{dhcppeer.On(func(e *dhcppeer.Exchange) {
		e.Replies = append(e.Replies, e.Reply(dhcpv4.MessageTypeNak))
	}, dhcppeer.Selecting)}, then: inOneGo},
	{name: "NAK without a server identifier", faults: []dhcppeer.Fault{atFirst(func(e *dhcppeer.Exchange) {
		e.Replies = []dhcppeer.Reply{e.Reply(dhcpv4.MessageTypeNak, lacking(dhcpv4.OptionServerIdentifier))}
	}, dhcppeer.Selecting)}, then: startsOver},
	{name: "offers of ten servers", faults: []dhcppeer.Fault{dhcppeer.On(func(e *dhcppeer.Exchange) {
		for i := range byte(9) {
			e.Replies = append(e.Replies, e.Reply(dhcpv4.MessageTypeOffer, dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.IPv4(10, 9, 0, 2+i))),
				dhcpv4.WithYourIP(net.IPv4(10, 9, 0, 241+i))))
		}
	}, dhcppeer.Discover)}, then: inOneGo},

	// Contents.
	{name: "the longest time with an end", options: []dhcpv4.Option{generic(51, 255, 255, 255, 254)}, lasts: 0xfffffffe * time.Second},
	{name: "a mask of no bits", options: []dhcpv4.Option{dhcpv4.OptSubnetMask(net.CIDRMask(0, 32))}},
	{name: "a mask of all bits", options: []dhcpv4.Option{dhcpv4.OptSubnetMask(net.CIDRMask(32, 32))}, bits: 32,
		routes: []string{"default via 10.9.0.1 dev eth0 proto dhcp onlink"}, then: func(t *testing.T, m *machine, s talk, address netip.Addr) {
			answers(t, &s.Host, address)
		}},
	{name: "a mask of all bits, and a route to the router", options: []dhcpv4.Option{dhcpv4.OptSubnetMask(net.CIDRMask(32, 32)),
		dhcpv4.OptClasslessStaticRoute(route("10.9.0.1/32", "0.0.0.0"), route("0.0.0.0/0", "10.9.0.1"))}, bits: 32,
		routes: []string{"10.9.0.1 dev eth0 proto dhcp scope link", "default via 10.9.0.1 dev eth0 proto dhcp onlink"}},
	{name: "a router that is the guest", edit: func(m *dhcpv4.DHCPv4) { m.UpdateOption(dhcpv4.OptRouter(m.YourIPAddr, net.IPv4(10, 9, 0, 1))) }},
	{name: "a default route on the link", options: []dhcpv4.Option{dhcpv4.OptClasslessStaticRoute(route("0.0.0.0/0", "0.0.0.0"))},
		routes: []string{"default dev eth0 proto dhcp scope link"}},
	{name: "65 routes", options: []dhcpv4.Option{sixtyFive}, routes: sixtyFour},
	{name: "name servers that are no hosts", options: []dhcpv4.Option{servers("0.0.0.0", "255.255.255.255", "224.0.0.251", "127.0.0.53", "10.9.0.53")}, dns: "10.9.0.53"},
	{name: "an OFFER with fields that are the client's", faults: []dhcppeer.Fault{dhcppeer.On(clientFields, dhcppeer.Discover)}},
	{name: "an ACK with fields that are the client's", options: []dhcpv4.Option{soon}, t1: time.Second, faults: []dhcppeer.Fault{dhcppeer.On(clientFields, dhcppeer.Selecting)},
		then: func(t *testing.T, m *machine, s talk, address netip.Addr) { renewed(t, s, dhcppeer.Renewing) }},
	{name: "nine name servers", options: []dhcpv4.Option{servers("10.9.0.1", "10.9.0.2", "10.9.0.3", "10.9.0.4", "10.9.0.5", "10.9.0.6", "10.9.0.7", "10.9.0.8", "10.9.0.9")},
		dns: "10.9.0.1 10.9.0.2 10.9.0.3 10.9.0.4 10.9.0.5 10.9.0.6 10.9.0.7 10.9.0.8"},
}

// testSent compares the messages of one lease with each other, and looks at the values in them. testMessages looks at their form.
func testSent(t *testing.T, m *machine, s talk, address netip.Addr) {
	inOneGo(t, m, s, address)
	testMessages(t, macs[0], s.Peer)
	discover, request := s.of(dhcppeer.Discover)[0], s.of(dhcppeer.Selecting)[0]
	if !request.RequestedIPAddress().Equal(address.AsSlice()) || !request.ServerIdentifier().Equal(s.Addr().AsSlice()) {
		t.Errorf("the guest requested %s of %s", request.RequestedIPAddress(), request.ServerIdentifier())
	}
	if before := s.of(dhcppeer.InitReboot)[0]; before.TransactionID == discover.TransactionID {
		t.Error("two transactions have one ID")
	}
}

// ofAnother answers a client with this guest's MAC address and another client identifier (RFC 6842).
func ofAnother(what dhcpv4.MessageType) func(*dhcppeer.Exchange) dhcppeer.Reply {
	return func(e *dhcppeer.Exchange) dhcppeer.Reply {
		modifiers := []dhcpv4.Modifier{dhcpv4.WithOption(dhcpv4.OptClientIdentifier([]byte{0, 'o', 't', 'h', 'e', 'r'}))}
		if what != dhcpv4.MessageTypeNak {
			modifiers = append(modifiers, dhcpv4.WithYourIP(net.IPv4(10, 9, 0, 250)))
		}
		return e.Reply(what, modifiers...)
	}
}

// ignored checks that messages which nobody asked for change nothing.
func ignored(types ...dhcpv4.MessageType) func(*testing.T, *machine, talk, netip.Addr) {
	return func(t *testing.T, m *machine, s talk, address netip.Addr) {
		last := s.Messages()[len(s.Messages())-1]
		before := since(s.Peer)
		for _, to := range []net.HardwareAddr{last.ClientHWAddr, {2, 2, 2, 2, 2, 2}} {
			for _, what := range types {
				message, err := dhcpv4.New(dhcpv4.WithReply(last.DHCPv4), dhcpv4.WithMessageType(what), dhcpv4.WithHwAddr(to),
					dhcpv4.WithYourIP(net.IPv4(10, 9, 0, 250)), dhcpv4.WithOption(dhcpv4.OptServerIdentifier(s.Addr().AsSlice())),
					dhcpv4.WithOption(dhcpv4.OptIPAddressLeaseTime(time.Minute)))
				if err != nil {
					t.Fatal(err)
				}
				s.Send(message)
			}
		}
		configured := network(t, m)["eth0"].ConfiguredNS
		asked := since(s.Peer)
		must[none](t, m, "SetClock", 2*time.Second) // what the guest sends then comes after what the messages made it send
		asked.sent(t, dhcpv4.MessageTypeAck)
		if got := before.exchanged(); !slices.Equal(got, []dhcppeer.Kind{dhcppeer.InitReboot}) {
			t.Errorf("after %v and a jump of the clock the guest sent %q", types, got)
		}
		if n := network(t, m)["eth0"]; n.ConfiguredNS != configured || len(n.Addresses) != 1 || n.Addresses[0].Addr() != address {
			t.Errorf("after %v the guest has %+v", types, n)
		}
	}
}

// startsOver checks that the guest sent a second DISCOVER.
func startsOver(t *testing.T, _ *machine, s talk, _ netip.Addr) {
	if offers := len(s.of(dhcppeer.Discover)); offers < 2 {
		t.Errorf("the guest sent %q, want a second DISCOVER", s.kinds())
	}
}

// inOneGo checks that the guest needed one DISCOVER and one REQUEST after it lost the lease of before.
func inOneGo(t *testing.T, _ *machine, s talk, _ netip.Addr) {
	got := slices.DeleteFunc(s.exchanged(), func(k dhcppeer.Kind) bool { return k != dhcppeer.Discover && k != dhcppeer.Selecting })
	if !slices.Equal(got, []dhcppeer.Kind{dhcppeer.Discover, dhcppeer.Selecting}) {
		t.Errorf("the guest sent %q", s.kinds())
	}
}

// countsFromRequest checks that the lease began when the guest asked for it, a second or more before the NIC was configured. Both are times of the guest.
func countsFromRequest(t *testing.T, m *machine, _ talk, _ netip.Addr) {
	n := network(t, m)["eth0"]
	up, err := time.ParseDuration(strings.Fields(m.read(t, "/proc/uptime"))[0] + "s")
	if err != nil {
		t.Fatal(err)
	}
	booted := must[time.Time](t, m, "Clock", none{}).Add(-up)
	if took := booted.Add(time.Duration(n.ConfiguredNS)).Sub(n.Obtained); took < 900*time.Millisecond {
		t.Errorf("the lease counts from %v before the NIC was configured", took)
	}
}

// ipv6 checks whether the link has an IPv6 address.
func ipv6(want bool) func(*testing.T, *machine, talk, netip.Addr) {
	return func(t *testing.T, m *machine, _ talk, _ netip.Addr) {
		eventually(t, func() string {
			if shown := m.ip(t, "-6", "-o", "address", "show", "dev", "eth0"); strings.Contains(shown, "inet6") != want {
				return fmt.Sprintf("want IPv6 %t, have %q", want, shown)
			}
			return ""
		})
	}
}

// complaint compares the primary NIC with the case.
func (c dhcpCase) complaint(t *testing.T, m *machine, address netip.Addr) string {
	t.Helper()
	prefix := netip.PrefixFrom(address, cmp.Or(c.bits, 24))
	n := network(t, m)["eth0"]
	if n.State != netd.StateBound || !slices.Equal(n.Addresses, []netip.Prefix{prefix}) {
		return fmt.Sprintf("net.json has %s %v, want %s: %s", n.State, n.Addresses, prefix, n.Error)
	}
	shown := m.ip(t, "-4", "-o", "address", "show", "dev", "eth0")
	if strings.Count(shown, "inet ") != 1 || !strings.Contains(shown, " "+prefix.String()+" ") {
		return fmt.Sprintf("want %s, have\n%s", prefix, shown)
	}
	var routes []string
	for line := range strings.Lines(m.ip(t, "-4", "route")) {
		routes = append(routes, strings.TrimSpace(line))
	}
	want := c.routes
	switch {
	case want == nil:
		want = []string{viaServer}
	case want[0] == "":
		want = nil
	}
	want = slices.Clone(want)
	if !prefix.IsSingleIP() {
		want = append(want, fmt.Sprintf("%s dev eth0 proto kernel scope link src %s", prefix.Masked(), address))
	}
	slices.Sort(routes)
	slices.Sort(want)
	if !slices.Equal(routes, want) {
		return fmt.Sprintf("the routes are\n%s\nwant\n%s", strings.Join(routes, "\n"), strings.Join(want, "\n"))
	}
	if l := link(must[[]probe.Link](t, m, "Links", none{}), "eth0"); l.MTU != cmp.Or(c.mtu, 1500) || n.MTU != l.MTU {
		return fmt.Sprintf("the MTU is %d, and in net.json %d, want %d", l.MTU, n.MTU, cmp.Or(c.mtu, 1500))
	}
	if got := fmt.Sprintf("%s %v %s", n.Domain, n.Search, n.Hostname); got != cmp.Or(c.names, " [] ") {
		return fmt.Sprintf("the names are %q, want %q", got, cmp.Or(c.names, " [] "))
	}
	dns := strings.Trim(fmt.Sprint(n.DNS), "[]")
	if want := cmp.Or(c.dns, "10.9.0.1"); cmp.Or(dns, "none") != want {
		return fmt.Sprintf("the name servers are %q, want %q", dns, want)
	}
	lasts := cmp.Or(c.lasts, time.Hour)
	if lasts < 0 {
		if n.LeaseSeconds != 0 || !n.Expires.IsZero() {
			return fmt.Sprintf("the lease is for %d s", n.LeaseSeconds)
		}
		return ""
	}
	times := []time.Duration{n.Renews.Sub(n.Obtained), n.Rebinds.Sub(n.Obtained), n.Expires.Sub(n.Obtained)}
	if want := []time.Duration{cmp.Or(c.t1, lasts/2), cmp.Or(c.t2, lasts/8*7), lasts}; !slices.Equal(times, want) {
		return fmt.Sprintf("T1, T2 and the end are %v, want %v", times, want)
	}
	return ""
}

// TestDHCPCases changes what one guest's server leases, and how server and network behave. Each case has an address of its own, so that
// the server refuses the lease of the case before, and what is seen is this case's lease.
func TestDHCPCases(t *testing.T) {
	t.Parallel()
	first := netip.MustParseAddr("10.9.0.20")
	nic, peer := dhcpPeer(t, primaryAddress, leaseOf(primaryAddress, time.Hour))
	arp := newCapture(t, 0)
	m := boot(t, image{nics: []guest.NIC{nic}, cmdline: []string{quiet}, tools: true, qemu: arp.qemu(), timeout: 10 * time.Minute})
	answers(t, &peer.Host, leased[0])
	pid := daemon(t, m)
	address := first.Prev()
	for _, c := range dhcpCases {
		address = address.Next()
		t.Run(c.name, func(t *testing.T) {
			lease := leaseOf(netip.PrefixFrom(address, 24).String(), time.Hour, c.options...)
			if lease.Edit = c.edit; c.server != "" {
				lease.Identifier = netip.MustParseAddr(c.server)
			}
			s := since(peer)
			peer.Behave(c.faults...)
			peer.Lease(lease)
			must[none](t, m, "SetClock", 2*time.Second) // makes the guest ask
			if c.refused {
				testRefused(t, m, s)
				return
			}
			eventuallyWithin(t, 20*time.Second, func() string { return c.complaint(t, m, address) })
			if c.then != nil {
				c.then(t, m, s, address)
			}
		})
	}
	t.Run("announced", func(t *testing.T) {
		eventually(t, func() string {
			if n := arp.requests(t, address, address); n != 2 {
				return fmt.Sprintf("%s was announced %d times, want twice", address, n)
			}
			return ""
		})
	})
	t.Run("every message", func(t *testing.T) { testMessages(t, macs[0], peer) })
	if now := daemon(t, m); now != pid {
		t.Errorf("the network daemon was process %d, and is %d", pid, now)
	}
}

// testRefused checks that the guest takes none of the offers, and asks on.
func testRefused(t *testing.T, m *machine, s talk) {
	t.Helper()
	eventually(t, func() string {
		if n := len(s.of(dhcppeer.Discover)); n < 6 {
			return fmt.Sprintf("the guest has sent %q, want 6 DISCOVERs", s.kinds())
		}
		return ""
	})
	if n := len(s.of(dhcppeer.Selecting)); n > 0 {
		t.Errorf("the guest sent %q", s.kinds())
	}
	noAddress(t, m, "eth0")
}
