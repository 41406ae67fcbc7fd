package vmtests

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/arcinit/arcinit/vmtests/dhcppeer"
	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/iana"
)

// optionRule has the options that a client must send, and those that it must or should not send.
type optionRule struct{ must, mustNot []uint8 }

// optionRules are tables 4 and 5 of RFC 2131 (sections 4.3.6 and 4.4.1), for the client's state. Option 53 is in all messages. Option 61 is, too,
// because a client that sends it once must always send it (section 4.2).
var optionRules = map[dhcppeer.Kind]optionRule{
	dhcppeer.Discover:   {must: []uint8{55, 57}, mustNot: []uint8{52, 54, 56}},
	dhcppeer.Selecting:  {must: []uint8{50, 54, 55, 57}, mustNot: []uint8{52, 56}},
	dhcppeer.InitReboot: {must: []uint8{50, 55, 57}, mustNot: []uint8{52, 54, 56}},
	dhcppeer.Renewing:   {must: []uint8{55, 57}, mustNot: []uint8{50, 52, 54, 56}},
	dhcppeer.Rebinding:  {must: []uint8{55, 57}, mustNot: []uint8{50, 52, 54, 56}},
	dhcppeer.Decline:    {must: []uint8{50, 54}, mustNot: []uint8{12, 51, 52, 55, 57, 60}},
	dhcppeer.Release:    {must: []uint8{54}, mustNot: []uint8{12, 50, 51, 52, 55, 57, 60}},
}

// wrongIn returns what is wrong with a message of the client with that MAC address, by RFC 2131.
func wrongIn(m dhcppeer.Message, mac string) (wrong []string) {
	check := func(isRight bool, format string, args ...any) {
		if !isRight {
			wrong = append(wrong, fmt.Sprintf(format, args...))
		}
	}
	isZero := func(b []byte) bool { return len(bytes.Trim(b, "\x00")) == 0 }
	// Offsets of the fields in bytes (section 2).
	const flags, ciaddr, yiaddr, chaddr, sname, options = 10, 12, 16, 28, 44, 240
	b := m.Bytes
	check(len(b) >= 300, "%d bytes; old relays drop a message of less than BOOTP's 300", len(b))
	check(bytes.Equal(b[:4], []byte{1, 1, 6, 0}), "op, htype, hlen and hops are % d", b[:4])
	check(isZero(b[flags:ciaddr]), "the flags are %#x: nothing is reserved, and unicast can be received", b[flags:ciaddr])
	check(isZero(b[yiaddr:chaddr]), "yiaddr, siaddr and giaddr are % d", b[yiaddr:chaddr])
	check(m.ClientHWAddr.String() == mac && isZero(b[chaddr+6:sname]), "chaddr is % x", b[chaddr:sname])
	check(isZero(b[sname:options-4]), "sname and file are not empty")

	times := map[uint8]int{}
	end := options
	for ; b[end] != dhcpv4.OptionEnd.Code(); end++ { // it has an end, or it would not have been parsed
		if b[end] != dhcpv4.OptionPad.Code() {
			times[b[end]]++
			end += 1 + int(b[end+1])
		}
	}
	check(isZero(b[end+1:]), "after the end are % x", b[end+1:])
	for code, n := range times {
		check(n == 1, "option %d is there %d times", code, n)
	}
	rule, isKnown := optionRules[m.Kind]
	check(isKnown, "a message of no state of a client")
	for _, code := range append([]uint8{53}, rule.must...) {
		check(times[code] > 0, "option %d is missing", code)
	}
	for _, code := range rule.mustNot {
		check(times[code] == 0, "option %d must not be there", code)
	}
	for code, length := range map[uint8]int{50: 4, 51: 4, 53: 1, 54: 4, 57: 2} {
		value := m.Options.Get(dhcpv4.GenericOptionCode(code))
		check(value == nil || len(value) == length, "option %d has %d bytes", code, len(value))
	}
	if size, err := m.MaxMessageSize(); err == nil {
		check(576 <= size && size <= 1500-28, "the largest message may have %d bytes, which has to fit into one packet", size)
	}
	id := m.Options.Get(dhcpv4.OptionClientIdentifier)
	check(len(id) == 7 && id[0] == 1 && net.HardwareAddr(id[1:]).String() == mac, "the client identifier is % x", id)

	broadcast := netip.AddrFrom4([4]byte{255, 255, 255, 255})
	own, _ := netip.AddrFromSlice(m.ClientIPAddr.To4())
	isOwn := m.From == own && !own.IsUnspecified()
	switch m.Kind {
	case dhcppeer.Renewing, dhcppeer.Release:
		check(isOwn && m.Unicast && m.To.IsGlobalUnicast(), "from %s to %s, ciaddr is %s", m.From, m.To, own)
	case dhcppeer.Rebinding:
		check(isOwn && !m.Unicast && m.To == broadcast, "from %s to %s, ciaddr is %s", m.From, m.To, own)
	default:
		check(m.From.IsUnspecified() && own.IsUnspecified() && !m.Unicast && m.To == broadcast, "from %s to %s, ciaddr is %s", m.From, m.To, own)
	}
	if m.Kind == dhcppeer.Decline || m.Kind == dhcppeer.Release {
		check(m.NumSeconds == 0, "%d seconds", m.NumSeconds)
	}
	return wrong
}

// testMessages checks all messages that a NIC has sent to a peer, each for itself, and what one of them must have from those before.
func testMessages(t *testing.T, mac string, p *dhcppeer.Peer) {
	t.Helper()
	for _, err := range p.Malformed() {
		t.Errorf("a malformed message of %s: %v", mac, err)
	}
	for _, complaint := range wrongAmong(p.Messages(), mac) {
		t.Errorf("%s: %s", mac, complaint)
	}
}

func wrongAmong(messages []dhcppeer.Message, mac string) (wrong []string) {
	asked := ""                                             // the parameters
	discovers := map[dhcpv4.TransactionID]map[uint16]bool{} // the seconds in each DISCOVER of a transaction
	for i, m := range messages {
		complaints := wrongIn(m, mac)
		list := string(m.Options.Get(dhcpv4.OptionParameterRequestList))
		if asked == "" {
			asked = list
		}
		if list != "" && list != asked {
			complaints = append(complaints, fmt.Sprintf("asks for % d, the first message for % d", []byte(list), []byte(asked)))
		}
		switch m.Kind {
		case dhcppeer.Discover:
			if discovers[m.TransactionID] == nil {
				discovers[m.TransactionID] = map[uint16]bool{}
			}
			discovers[m.TransactionID][m.NumSeconds] = true
		case dhcppeer.Selecting:
			if !discovers[m.TransactionID][m.NumSeconds] {
				complaints = append(complaints, "no DISCOVER has this transaction and these seconds")
			}
		}
		if len(complaints) > 0 {
			wrong = append(wrong, fmt.Sprintf("message %d, a %s: %s\n%s", i, m.Kind, strings.Join(complaints, "; "), m.Summary()))
		}
	}
	return wrong
}

// TestMessageRules checks that each broken rule is found in a message that is right otherwise.
func TestMessageRules(t *testing.T) {
	const mac = "52:54:00:00:00:01"
	hardware, err := net.ParseMAC(mac)
	if err != nil {
		t.Fatal(err)
	}
	server, client := net.IPv4(10, 9, 0, 1), net.IPv4(10, 9, 0, 15)
	with := dhcpv4.WithOption
	unspecified, broadcast := netip.IPv4Unspecified(), netip.AddrFrom4([4]byte{255, 255, 255, 255})
	own, to := netip.AddrFrom4([4]byte(client.To4())), netip.AddrFrom4([4]byte(server.To4()))
	common := []dhcpv4.Modifier{
		dhcpv4.WithHwAddr(hardware), with(dhcpv4.OptParameterRequestList(dhcpv4.OptionRouter)),
		with(dhcpv4.OptMaxMessageSize(1472)), with(dhcpv4.OptClientIdentifier(append([]byte{1}, hardware...))),
	}
	short := dhcpv4.WithoutOption(dhcpv4.OptionParameterRequestList)
	shorter := dhcpv4.WithoutOption(dhcpv4.OptionMaximumDHCPMessageSize)
	isFrom, chosen, wanted := dhcpv4.WithClientIP(client), with(dhcpv4.OptServerIdentifier(server)), with(dhcpv4.OptRequestedIPAddress(client))
	build := func(kind dhcppeer.Kind, modifiers ...dhcpv4.Modifier) dhcppeer.Message {
		what, from, addressee := dhcpv4.MessageTypeRequest, unspecified, broadcast
		switch kind {
		case dhcppeer.Discover:
			what = dhcpv4.MessageTypeDiscover
		case dhcppeer.Selecting:
			modifiers = append([]dhcpv4.Modifier{chosen, wanted}, modifiers...)
		case dhcppeer.InitReboot:
			modifiers = append([]dhcpv4.Modifier{wanted}, modifiers...)
		case dhcppeer.Renewing:
			from, addressee, modifiers = own, to, append([]dhcpv4.Modifier{isFrom}, modifiers...)
		case dhcppeer.Rebinding:
			from, modifiers = own, append([]dhcpv4.Modifier{isFrom}, modifiers...)
		case dhcppeer.Decline:
			what, modifiers = dhcpv4.MessageTypeDecline, append([]dhcpv4.Modifier{chosen, wanted, short, shorter}, modifiers...)
		case dhcppeer.Release:
			what, from, addressee = dhcpv4.MessageTypeRelease, own, to
			modifiers = append([]dhcpv4.Modifier{chosen, isFrom, short, shorter}, modifiers...)
		}
		m, err := dhcpv4.New(slices.Concat(common, []dhcpv4.Modifier{dhcpv4.WithMessageType(what)}, modifiers)...)
		if err != nil {
			t.Fatal(err)
		}
		return dhcppeer.Message{DHCPv4: m, Bytes: m.ToBytes(), Kind: kind, From: from, To: addressee, Unicast: addressee != broadcast}
	}
	for kind := range optionRules {
		if wrong := wrongIn(build(kind), mac); len(wrong) > 0 {
			t.Errorf("a good %s: %q", kind, wrong)
		}
	}
	bytesAt := func(at int, value byte) func(*dhcppeer.Message) {
		return func(m *dhcppeer.Message) { m.Bytes[at] = value }
	}
	option := func(code uint8, value ...byte) dhcpv4.Modifier {
		return with(dhcpv4.OptGeneric(dhcpv4.GenericOptionCode(code), value))
	}
	for _, c := range []struct {
		kind   dhcppeer.Kind
		modify dhcpv4.Modifier
		spoil  func(*dhcppeer.Message)
	}{
		{dhcppeer.Discover, func(m *dhcpv4.DHCPv4) { m.HopCount = 1 }, nil},
		{dhcppeer.Discover, func(m *dhcpv4.DHCPv4) { m.HWType = iana.HWTypeInfiniband }, nil},
		{dhcppeer.Discover, dhcpv4.WithBroadcast(true), nil},
		{dhcppeer.Discover, nil, bytesAt(11, 1)},
		{dhcppeer.Discover, dhcpv4.WithClientIP(client), nil},
		{dhcppeer.Discover, dhcpv4.WithYourIP(client), nil},
		{dhcppeer.Discover, dhcpv4.WithServerIP(server), nil},
		{dhcppeer.Discover, dhcpv4.WithGatewayIP(server), nil},
		{dhcppeer.Discover, dhcpv4.WithHwAddr(net.HardwareAddr{2, 2, 2, 2, 2, 2}), nil},
		{dhcppeer.Discover, nil, bytesAt(40, 1)},
		{dhcppeer.Discover, nil, bytesAt(44, 'a')},
		{dhcppeer.Discover, nil, bytesAt(108, 'a')},
		{dhcppeer.Discover, nil, func(m *dhcppeer.Message) { m.Bytes = bytes.TrimRight(m.Bytes, "\x00") }},
		{dhcppeer.Discover, nil, func(m *dhcppeer.Message) { m.Bytes[len(m.Bytes)-1] = 1 }},
		{dhcppeer.Discover, nil, func(m *dhcppeer.Message) {
			m.Bytes = slices.Concat(m.Bytes[:240], []byte{53, 1, 1}, m.Bytes[240:])
		}},
		{dhcppeer.Discover, chosen, nil},
		{dhcppeer.Discover, option(52, 1), nil},
		{dhcppeer.Discover, option(53, 1, 1), nil},
		{dhcppeer.Discover, option(51, 1), nil},
		{dhcppeer.Discover, with(dhcpv4.OptMessage("no")), nil},
		{dhcppeer.Discover, with(dhcpv4.OptMaxMessageSize(575)), nil},
		{dhcppeer.Discover, with(dhcpv4.OptMaxMessageSize(1473)), nil},
		{dhcppeer.Discover, dhcpv4.WithoutOption(dhcpv4.OptionClientIdentifier), nil},
		{dhcppeer.Discover, with(dhcpv4.OptClientIdentifier([]byte{0, 'a'})), nil},
		{dhcppeer.Discover, nil, func(m *dhcppeer.Message) { m.From = own }},
		{dhcppeer.Discover, nil, func(m *dhcppeer.Message) { m.Unicast = true }},
		{dhcppeer.Selecting, dhcpv4.WithoutOption(dhcpv4.OptionRequestedIPAddress), nil},
		{dhcppeer.Selecting, isFrom, nil},
		{dhcppeer.InitReboot, chosen, nil},
		{dhcppeer.InitReboot, isFrom, nil},
		{dhcppeer.InitReboot, short, nil},
		{dhcppeer.Renewing, wanted, nil},
		{dhcppeer.Renewing, chosen, nil},
		{dhcppeer.Renewing, dhcpv4.WithClientIP(server), nil},
		{dhcppeer.Renewing, nil, func(m *dhcppeer.Message) { m.To, m.Unicast = broadcast, false }},
		{dhcppeer.Rebinding, wanted, nil},
		{dhcppeer.Rebinding, nil, func(m *dhcppeer.Message) { m.To, m.Unicast = to, true }},
		{dhcppeer.Rebinding, nil, func(m *dhcppeer.Message) { m.From = unspecified }},
		{dhcppeer.Decline, dhcpv4.WithoutOption(dhcpv4.OptionServerIdentifier), nil},
		{dhcppeer.Decline, with(dhcpv4.OptParameterRequestList(dhcpv4.OptionRouter)), nil},
		{dhcppeer.Decline, isFrom, nil},
		{dhcppeer.Decline, func(m *dhcpv4.DHCPv4) { m.NumSeconds = 1 }, nil},
		{dhcppeer.Release, wanted, nil},
		{dhcppeer.Release, with(dhcpv4.OptClassIdentifier("arcinit")), nil},
		{dhcppeer.Release, dhcpv4.WithClientIP(net.IPv4zero), nil},
		{dhcppeer.Unknown, nil, nil},
	} {
		var modifiers []dhcpv4.Modifier
		if c.modify != nil {
			modifiers = append(modifiers, c.modify)
		}
		m := build(c.kind, modifiers...)
		if c.spoil != nil {
			c.spoil(&m)
		}
		if wrong := wrongIn(m, mac); len(wrong) != 1 {
			t.Errorf("a broken rule of a %s: found %q\n%s", c.kind, wrong, m.Summary())
		}
	}

	id := dhcpv4.WithTransactionID(dhcpv4.TransactionID{1, 2, 3, 4})
	discover, request := build(dhcppeer.Discover, id), build(dhcppeer.Selecting, id)
	if wrong := wrongAmong([]dhcppeer.Message{discover, discover, request}, mac); len(wrong) > 0 {
		t.Errorf("good messages: %q", wrong)
	}
	for what, second := range map[string]dhcppeer.Message{
		"another transaction": build(dhcppeer.Selecting),
		"other seconds":       build(dhcppeer.Selecting, id, func(m *dhcpv4.DHCPv4) { m.NumSeconds = 1 }),
		"other parameters":    build(dhcppeer.Selecting, id, with(dhcpv4.OptParameterRequestList(dhcpv4.OptionSubnetMask))),
	} {
		if wrong := wrongAmong([]dhcppeer.Message{discover, second}, mac); len(wrong) != 1 {
			t.Errorf("%s: found %q", what, wrong)
		}
	}
}
