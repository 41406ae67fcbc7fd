package dhcppeer

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
)

// The messages of a client, each with one kind.
func discover() *dhcpv4.DHCPv4 { return message(dhcpv4.MessageTypeDiscover) }

func selecting() *dhcpv4.DHCPv4 {
	return message(dhcpv4.MessageTypeRequest, dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.IPv4(10, 9, 0, 1))), wanting(15))
}

func renewing() *dhcpv4.DHCPv4 {
	return message(dhcpv4.MessageTypeRequest, dhcpv4.WithClientIP(net.IPv4(10, 9, 0, 15)))
}

func wanting(last byte) dhcpv4.Modifier {
	return dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(net.IPv4(10, 9, 0, last)))
}

func message(t dhcpv4.MessageType, modifiers ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
	m := &dhcpv4.DHCPv4{OpCode: dhcpv4.OpcodeBootRequest, HWType: 1, ClientHWAddr: guestMAC[:], Options: dhcpv4.Options{}}
	for _, modify := range append(modifiers, dhcpv4.WithMessageType(t)) {
		modify(m)
	}
	return m
}

// say has the server hear messages, as they come off the cable, and returns what
// it says at once.
func say(p *Peer, messages ...*dhcpv4.DHCPv4) []Reply {
	before := len(p.Replies())
	for _, m := range messages {
		to, link := netip.MustParseAddrPort("255.255.255.255:67"), broadcastMAC
		if !m.ClientIPAddr.IsUnspecified() {
			to, link = netip.MustParseAddrPort("10.9.0.1:67"), own
		}
		p.receive(ethernetFrame(link, guestMAC, etherTypeIPv4, datagram{
			from: netip.MustParseAddrPort("0.0.0.0:68"), to: to, payload: m.ToBytes(),
		}.packet()))
	}
	return p.Replies()[before:]
}

// types are those of what is in the replies, not of what they were to be.
func types(t *testing.T, replies []Reply) (all []dhcpv4.MessageType) {
	t.Helper()
	for _, r := range replies {
		all = append(all, parse(t, r).MessageType())
	}
	return all
}

func parse(t *testing.T, r Reply) *dhcpv4.DHCPv4 {
	t.Helper()
	m, err := dhcpv4.FromBytes(r.Payload)
	if err != nil {
		t.Fatalf("%v: % x", err, r.Payload)
	}
	return m
}

const (
	offer = dhcpv4.MessageTypeOffer
	ack   = dhcpv4.MessageTypeAck
	nak   = dhcpv4.MessageTypeNak
)

// TestAnswers has the server say what it should to each kind of message, well and
// badly behaved.
func TestAnswers(t *testing.T) {
	all := []*dhcpv4.DHCPv4{
		discover(), selecting(), renewing(), message(dhcpv4.MessageTypeRequest, wanting(15)),
		message(dhcpv4.MessageTypeRequest, wanting(99)), message(dhcpv4.MessageTypeRequest),
		message(dhcpv4.MessageTypeRequest, dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.IPv4(10, 9, 0, 2))), wanting(15)),
		message(dhcpv4.MessageTypeDecline), message(dhcpv4.MessageTypeRelease), message(dhcpv4.MessageTypeInform),
	}
	good := []dhcpv4.MessageType{offer, ack, ack, ack, nak}
	for _, test := range []struct {
		name   string
		faults []Fault
		want   []dhcpv4.MessageType
	}{
		{"good", nil, good},
		{"silent", []Fault{Silent}, nil},
		{"vanish", []Fault{Vanish}, []dhcpv4.MessageType{offer}},
		{"refuse", []Fault{Refuse}, []dhcpv4.MessageType{offer, nak, nak, nak, nak, nak, nak}},
		{"readdress", []Fault{Readdress}, []dhcpv4.MessageType{offer, ack, ack, ack, ack, ack, ack}},
		{"duplicate", []Fault{Duplicate}, []dhcpv4.MessageType{offer, offer, ack, ack, ack, ack, ack, ack, nak, nak}},
		{"reorder", []Fault{Reorder()}, []dhcpv4.MessageType{ack, offer, ack, ack, nak}},
		{"flood", []Fault{Flood(3)}, []dhcpv4.MessageType{offer, offer, offer, ack, ack, ack, nak}},
		{"lose none", []Fault{Lose(0)}, good},
		{"lose all", []Fault{Lose(1)}, nil},
		{"on", []Fault{On(Refuse, Renewing, InitReboot)}, []dhcpv4.MessageType{offer, ack, nak, nak, nak}},
		{"in order", []Fault{Duplicate, Refuse}, []dhcpv4.MessageType{offer, offer, nak, nak, nak, nak, nak, nak}},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := startPeer(t, testConfig)
			p.Behave(test.faults...)
			if got := types(t, say(p, all...)); !slices.Equal(got, test.want) {
				t.Errorf("the server said %v, want %v", got, test.want)
			}
			for kind, want := range map[Kind]int{
				Discover: 1, Selecting: 2, InitReboot: 2, Renewing: 1, Rebinding: 0, Decline: 1, Release: 1, Inform: 1, Unknown: 1,
			} {
				if got := p.Count(kind); got != want {
					t.Errorf("%d of %s, want %d", got, kind, want)
				}
			}
		})
	}
}

func TestKinds(t *testing.T) {
	p := startPeer(t, testConfig)
	send := func(link mac, to string) {
		d := datagram{from: netip.MustParseAddrPort("10.9.0.15:68"), to: netip.MustParseAddrPort(to), payload: renewing().ToBytes()}
		p.receive(ethernetFrame(link, guestMAC, etherTypeIPv4, d.packet()))
	}
	send(broadcastMAC, "255.255.255.255:67")
	send(own, "10.9.0.1:67")
	send(own, "10.9.0.1:53")
	half := datagram{from: netip.MustParseAddrPort("10.9.0.15:68"), to: netip.MustParseAddrPort("10.9.0.1:67"), payload: renewing().ToBytes()[:200]}
	p.receive(ethernetFrame(own, guestMAC, etherTypeIPv4, half.packet()))
	got := p.Messages()
	if len(got) != 2 || len(p.Malformed()) != 1 {
		t.Fatalf("%d messages, and %v: %v", len(got), p.Malformed(), got)
	}
	if !bytes.Equal(got[0].Bytes, renewing().ToBytes()) {
		t.Errorf("the message is % x", got[0].Bytes)
	}
	if got[0].Kind != Rebinding || got[0].Unicast || got[0].From != netip.MustParseAddr("10.9.0.15") || got[0].To != broadcastAddress {
		t.Errorf("rebinding: %+v", got[0])
	}
	if got[1].Kind != Renewing || !got[1].Unicast || got[1].To != p.Addr() {
		t.Errorf("renewing: %+v", got[1])
	}
	if p.Renewals() != 2 {
		t.Errorf("%d renewals", p.Renewals())
	}
	if since := time.Since(got[1].At); since < 0 || since > time.Minute || got[1].At.Before(got[0].At) {
		t.Errorf("they came at %v and %v", got[0].At, got[1].At)
	}
}

// TestChance has faults by chance happen as often as they should, and the same
// ones with the same seed.
func TestChance(t *testing.T) {
	const messages = 2000
	outcome := func(seed uint64, fault Fault) (replies int, text string) {
		t.Helper()
		config := testConfig
		config.Seed = seed
		p := startPeer(t, config)
		p.Behave(fault)
		for i := range messages {
			m := discover()
			m.TransactionID = dhcpv4.TransactionID{byte(i >> 8), byte(i)}
			p.serve(Message{DHCPv4: m, Kind: Discover})
		}
		var b strings.Builder
		for _, r := range p.Replies() {
			b.Write(r.Payload)
		}
		return len(p.Replies()), b.String()
	}
	// Ten standard deviations and more to either side.
	for name, test := range map[string]struct {
		fault       func() Fault
		least, most int
	}{
		"half lost each way": {func() Fault { return Lose(0.5) }, messages / 8, messages * 3 / 8},
	} {
		n, text := outcome(1, test.fault())
		if n < test.least || n > test.most {
			t.Errorf("%s: %d replies to %d messages", name, n, messages)
		}
		if _, again := outcome(1, test.fault()); again != text {
			t.Errorf("%s: another outcome with the same seed", name)
		}
		if _, other := outcome(2, test.fault()); other == text {
			t.Errorf("%s: the same outcome with another seed", name)
		}
	}
}

// TestBytes has faults change the bytes of a reply, and looks at what comes out of
// the cable.
func TestBytes(t *testing.T) {
	p := startPeer(t, testConfig)
	n := plugIn(t, p)
	ask := func(faults ...Fault) []byte {
		t.Helper()
		p.Behave(faults...)
		request := datagram{
			from: netip.MustParseAddrPort("0.0.0.0:68"), to: netip.MustParseAddrPort("255.255.255.255:67"), payload: discover().ToBytes(),
		}
		if err := n.sendFrame(etherTypeIPv4, request.packet()); err != nil {
			t.Fatal(err)
		}
		packet := make([]byte, maxFrame)
		size, _, err := n.ReadFrom(packet) // which looks at the checksums
		if err != nil {
			t.Fatal(err)
		}
		reply, ok := parseDatagram(packet[:size])
		if !ok {
			t.Fatalf("no datagram: % x", packet[:size])
		}
		return reply.payload
	}
	good := ask()
	got := ask(Rewrite(func(request *dhcpv4.DHCPv4, reply []byte) []byte {
		return append([]byte(request.MessageType().String()), reply[:2]...)
	}))
	if want := "DISCOVER" + string(good[:2]); string(got) != want {
		t.Errorf("rewritten: %q, want %q", got, want)
	}
	for _, r := range p.Replies() {
		if r.Type != offer || r.To != Discover {
			t.Errorf("a reply is noted as %s to %s", r.Type, r.To)
		}
	}
}

func TestFloodOffersOtherAddresses(t *testing.T) {
	p := startPeer(t, testConfig)
	p.Behave(Flood(300))
	replies := say(p, discover())
	for i, want := range map[int]net.IP{0: net.IPv4(10, 9, 0, 15), 1: net.IPv4(10, 9, 0, 16), 299: net.IPv4(10, 9, 1, 58)} {
		if got := parse(t, replies[i]).YourIPAddr; !got.Equal(want) {
			t.Errorf("offer %d is of %s, want %s", i, got, want)
		}
	}
	if len(replies) != 300 {
		t.Errorf("%d offers", len(replies))
	}
}

// TestDelayed has replies that are due later come then, and in their order.
func TestDelayed(t *testing.T) {
	p := startPeer(t, testConfig)
	n := plugIn(t, p)
	const delay = 100 * time.Millisecond
	p.Behave(Flood(20), Delay(delay), func(e *Exchange) { e.Replies[19].After = 0 })
	if got := say(p, discover()); len(got) != 1 || !parse(t, got[0]).YourIPAddr.Equal(net.IPv4(10, 9, 0, 34)) {
		t.Errorf("at once came %+v", got)
	}
	if err := n.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	for len(p.Replies()) < 20 {
		if _, _, err := n.frame(); err != nil {
			t.Fatal(err)
		}
	}
	heard := p.Messages()[0].At
	for i, r := range p.Replies()[1:] {
		if want := net.IPv4(10, 9, 0, byte(15+i)); !parse(t, r).YourIPAddr.Equal(want) {
			t.Errorf("offer %d is of %s", i, parse(t, r).YourIPAddr)
		}
		if after := r.At.Sub(heard); after < delay {
			t.Errorf("offer %d came after %v", i, after)
		}
	}
}

// TestLeaseChanges has the server lease something else to a client that has a
// lease already.
func TestLeaseChanges(t *testing.T) {
	p := startPeer(t, testConfig)
	c := client(t, p)
	lease, err := c.Request(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	other := testConfig.Lease
	other.Client = netip.MustParseAddr("10.9.0.16")
	p.Lease(other)
	if _, err := c.Renew(t.Context(), lease); !errors.As(err, new(*nclient4.ErrNak)) {
		t.Errorf("renewed: %v", err)
	}
	if n := p.Renewals(); n != 0 {
		t.Errorf("%d renewals", n)
	}
	p.Behave(Readdress)
	renewed, err := c.Renew(t.Context(), lease)
	if err != nil || !renewed.ACK.YourIPAddr.Equal(net.IPv4(10, 9, 0, 16)) {
		t.Errorf("another address: %v, %v", renewed, err)
	}

	// Everything that makes a lease can be something else, or missing.
	p.Behave()
	p.Lease(Lease{
		Client: other.Client, Time: 7 * time.Second, Identifier: netip.MustParseAddr("192.0.2.1"),
		Options: []dhcpv4.Option{
			dhcpv4.OptGeneric(dhcpv4.OptionIPAddressLeaseTime, []byte{0xff, 0xff, 0xff, 0xff}), dhcpv4.OptRouter(net.IPv4(192, 0, 2, 1)),
		},
		Edit: func(m *dhcpv4.DHCPv4) { m.Options.Del(dhcpv4.OptionSubnetMask) },
	})
	if lease, err = c.Request(t.Context()); err != nil {
		t.Fatal(err)
	}
	forever := []byte{0xff, 0xff, 0xff, 0xff}
	if a := lease.ACK; a.SubnetMask() != nil || !bytes.Equal(a.Options.Get(dhcpv4.OptionIPAddressLeaseTime), forever) ||
		!a.ServerIdentifier().Equal(net.IPv4(192, 0, 2, 1)) || !a.Router()[0].Equal(net.IPv4(192, 0, 2, 1)) {
		t.Errorf("the lease is %s", a.Summary())
	}
	if got := say(p, selecting()); len(got) != 0 {
		t.Errorf("to the client of another server it says %v", types(t, got))
	}
}

// TestThousandRoutes has more in one option than its length can say.
func TestThousandRoutes(t *testing.T) {
	var routes []*dhcpv4.Route
	for i := range 1000 {
		routes = append(routes, &dhcpv4.Route{
			Dest: &net.IPNet{IP: net.IPv4(172, 16, byte(i>>8), byte(i)).To4(), Mask: net.CIDRMask(32, 32)}, Router: net.IPv4(10, 9, 0, 1),
		})
	}
	config := testConfig
	config.Lease.Options = append(config.Lease.Options, dhcpv4.OptClasslessStaticRoute(routes...))
	p := startPeer(t, config)
	got := parse(t, say(p, discover())[0])
	if n := len(got.ClasslessStaticRoute()); n != 1000 {
		t.Errorf("%d routes", n)
	}
}

// TestOddReplies sends replies in ways that good servers do not, and looks at what comes out of the cable.
func TestOddReplies(t *testing.T) {
	config := testConfig
	config.Lease.Options = append(config.Lease.Options, dhcpv4.OptDomainName("example.org"))
	p := startPeer(t, config)
	n := plugIn(t, p)
	// ask returns the frame's addressee, the packet, and the datagram in it.
	ask := func(faults ...Fault) (to mac, packet []byte, d datagram) {
		t.Helper()
		p.Behave(faults...)
		request := datagram{
			from: netip.MustParseAddrPort("0.0.0.0:68"), to: netip.MustParseAddrPort("255.255.255.255:67"), payload: discover().ToBytes(),
		}
		if err := n.sendFrame(etherTypeIPv4, request.packet()); err != nil {
			t.Fatal(err)
		}
		for {
			etherType, packet, err := n.frame()
			if err != nil {
				t.Fatal(err)
			}
			if d, ok := parseDatagram(packet); ok && etherType == etherTypeIPv4 {
				return n.to(), packet, d
			}
		}
	}
	if to, _, d := ask(); to != guestMAC || d.to.Addr() != testConfig.Lease.Client {
		t.Errorf("a good reply is for %x and %s", to, d.to)
	}
	if to, _, d := ask(Broadcast); to != broadcastMAC || d.to.Addr() != broadcastAddress {
		t.Errorf("a broadcast is for %x and %s", to, d.to)
	}
	if _, packet, d := ask(From(netip.MustParseAddr("192.0.2.7"))); d.from.Addr() != netip.MustParseAddr("192.0.2.7") || checksum(pseudo(packet)) != 0 {
		t.Errorf("the reply is from %s", d.from)
	}
	_, packet, _ := ask(Unfinished)
	header := append(bytes.Clone(packet[12:20]), 0, protocolUDP, packet[24], packet[25])
	if got, want := binary.BigEndian.Uint16(packet[26:]), ^checksum(header); got != want || checksum(packet[:20]) != 0 {
		t.Errorf("the unfinished checksum is %#x, want that of the pseudo header, %#x", got, want)
	}
	_, _, good := ask()
	_, _, d := ask(Raw(func(options []byte) []byte { return append([]byte{0, 0}, options...) }))
	if want := slices.Concat(good.payload[:240], []byte{0, 0}, good.payload[240:]); !bytes.Equal(d.payload, want) {
		t.Errorf("the options are % x, want % x", d.payload[240:], want[240:])
	}
	_, _, d = ask(Overload([]dhcpv4.OptionCode{dhcpv4.OptionDomainName}, []dhcpv4.OptionCode{dhcpv4.OptionRouter}))
	if m, err := dhcpv4.FromBytes(d.payload); err != nil || m.DomainName() != "" || m.Router() != nil || !bytes.Equal(m.Options.Get(dhcpv4.OptionOptionOverload), []byte{3}) {
		t.Errorf("overloaded: %v, %s", err, m.Summary())
	}
	if !bytes.HasPrefix(d.payload[108:], append([]byte{15, 11}, "example.org\xff"...)) || !bytes.HasPrefix(d.payload[44:], []byte{3, 4, 10, 9, 0, 1, 255}) {
		t.Errorf("sname and file hold % x", d.payload[44:236])
	}
	_, _, d = ask(Pieces(dhcpv4.OptionDomainName, 4))
	if m, err := dhcpv4.FromBytes(d.payload); err != nil || m.DomainName() != "example.org" || bytes.Count(d.payload, []byte{15, 4}) != 2 || !bytes.HasPrefix(d.payload[240:], []byte{15, 4}) {
		t.Errorf("in pieces: %v, % x", err, d.payload[240:])
	}
	_, packet, d = ask(Repack(Unchecked))
	if packet[26] != 0 || packet[27] != 0 || !bytes.Equal(d.payload, good.payload) {
		t.Errorf("a datagram without a checksum is % x", packet[:28])
	}
	length := len(good.payload) + 28
	if _, packet, d = ask(Repack(Trailed)); len(packet) != length+len(junk) || !bytes.Equal(d.payload, good.payload) {
		t.Errorf("a packet with a trailer is % x", packet)
	}
	if _, packet, d = ask(Repack(Surplus)); len(packet) != length+len(junk) || int(binary.BigEndian.Uint16(packet[2:])) != len(packet) ||
		checksum(packet[:20]) != 0 || !bytes.Equal(d.payload, good.payload) {
		t.Errorf("a packet with more than the datagram is % x", packet)
	}
	if _, packet, d = ask(Repack(HeaderOptions)); packet[0] != 0x46 || checksum(packet[:24]) != 0 || !bytes.Equal(d.payload, good.payload) {
		t.Errorf("a packet with options is % x", packet)
	}
	reconfigure := message(dhcpv4.MessageType(9))
	reconfigure.OpCode = dhcpv4.OpcodeBootReply
	p.Send(reconfigure)
	if _, packet, err := n.frame(); err != nil || !bytes.Contains(packet, []byte{53, 1, 9}) || n.to() != broadcastMAC {
		t.Errorf("FORCERENEW is % x for %x, %v", packet, n.to(), err)
	}
}

// TestFragments joins the fragments of a packet again.
func TestFragments(t *testing.T) {
	whole := datagram{from: netip.MustParseAddrPort("10.9.0.1:67"), to: netip.MustParseAddrPort("10.9.0.15:68"), payload: discover().ToBytes()}.packet()
	var joined []byte
	for i, f := range Fragments(64)(bytes.Clone(whole)) {
		flags, rest := binary.BigEndian.Uint16(f[6:]), len(whole)-20-64*i
		if int(flags&0x1fff) != 8*i || (flags&0x2000 != 0) != (rest > 64) || len(f) != 20+min(64, rest) || checksum(f[:20]) != 0 {
			t.Errorf("fragment %d is % x", i, f)
		}
		joined = append(joined, f[20:]...)
	}
	if !bytes.Equal(joined, whole[20:]) {
		t.Errorf("the fragments have % x, want % x", joined, whole[20:])
	}
}
