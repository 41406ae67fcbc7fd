package dhcppeer

import (
	"net/netip"
	"slices"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// Kind is the type of a client's message. REQUEST has a kind for each state of the client,
// as RFC 2131 section 4.3.2 tells them apart.
type Kind string

// The kinds of a client's messages.
const (
	Discover Kind = "DISCOVER"
	// Selecting takes an offer: it names the server.
	Selecting Kind = "REQUEST, selecting"
	// InitReboot asks for the address of an earlier lease.
	InitReboot Kind = "REQUEST, init-reboot"
	// Renewing comes from the address to renew, to the server alone.
	Renewing Kind = "REQUEST, renewing"
	// Rebinding is the same to all servers.
	Rebinding Kind = "REQUEST, rebinding"
	Decline   Kind = "DECLINE"
	Release   Kind = "RELEASE"
	Inform    Kind = "INFORM"
	// Unknown is everything else.
	Unknown Kind = "unknown"
)

// Message is a DHCP message that the guest has sent.
type Message struct {
	// DHCPv4 is the message as parsed; nobody may change it.
	*dhcpv4.DHCPv4
	// Bytes is the message as it came; nobody may change it, either.
	Bytes []byte
	Kind  Kind
	// At is when the message came.
	At time.Time
	// From and To are the addresses of the IPv4 packet.
	From, To netip.Addr
	// Unicast reports whether the Ethernet frame was for the server alone.
	Unicast bool
}

// ReadMessage returns the DHCP message in an Ethernet frame, or nil if the frame has none for a server's or a client's port. An error means that the
// message is malformed. Only a client's message has a kind.
func ReadMessage(frame []byte) (*Message, error) {
	to, etherType, payload, ok := parseEthernet(frame)
	if !ok || etherType != etherTypeIPv4 {
		return nil, nil
	}
	d, ok := parseDatagram(payload)
	if !ok || d.to.Port() != dhcpv4.ServerPort && d.to.Port() != dhcpv4.ClientPort {
		return nil, nil
	}
	text := d.payload
	if d.to.Port() == dhcpv4.ClientPort { // ISC's server sends a full options field without its end
		text = append(slices.Clip(text), dhcpv4.OptionEnd.Code())
	}
	m, err := dhcpv4.FromBytes(text)
	if err != nil {
		return nil, err
	}
	if (m.OpCode == dhcpv4.OpcodeBootRequest) != (d.to.Port() == dhcpv4.ServerPort) {
		return nil, nil
	}
	return &Message{
		DHCPv4: m, Bytes: d.payload, Kind: kindOf(m, d.to.Addr()), At: time.Now(),
		From: d.from.Addr(), To: d.to.Addr(), Unicast: to[0]&1 == 0,
	}, nil
}

func kindOf(m *dhcpv4.DHCPv4, to netip.Addr) Kind {
	switch m.MessageType() {
	case dhcpv4.MessageTypeDiscover:
		return Discover
	case dhcpv4.MessageTypeDecline:
		return Decline
	case dhcpv4.MessageTypeRelease:
		return Release
	case dhcpv4.MessageTypeInform:
		return Inform
	case dhcpv4.MessageTypeRequest:
		switch {
		case m.ServerIdentifier() != nil:
			return Selecting
		case m.RequestedIPAddress() != nil:
			return InitReboot
		case m.ClientIPAddr.IsUnspecified():
			return Unknown
		case to == broadcastAddress:
			return Rebinding
		default:
			return Renewing
		}
	}
	return Unknown
}

// Reply is a message of the server.
type Reply struct {
	// Type is OFFER, ACK or NAK, whatever faults made of the payload.
	Type dhcpv4.MessageType
	// To is the kind of the message that it answers.
	To Kind
	// Payload is the DHCP message as it is sent.
	Payload []byte
	// After is the time from the guest's message until the reply is sent.
	After time.Duration
	// At is when the reply was sent.
	At time.Time
	// From is the sender's address in the IPv4 packet; the peer's own by default.
	From netip.Addr
	// Unfinished leaves the UDP checksum as a virtual NIC's driver leaves it to the NIC: it covers the pseudo header alone.
	Unfinished bool
	// Repack, if not nil, makes the IPv4 packets that are sent of the reply's packet.
	Repack func(packet []byte) [][]byte

	address netip.Addr
	mac     mac
}

// destination returns where RFC 2131 section 4.1 sends an answer to.
func destination(request, message *dhcpv4.DHCPv4) (netip.Addr, mac) {
	address := message.YourIPAddr
	switch {
	case message.MessageType() == dhcpv4.MessageTypeNak:
		address = nil
	case !request.ClientIPAddr.IsUnspecified():
		address = request.ClientIPAddr
	case request.IsBroadcast():
		address = nil
	}
	if a, ok := netip.AddrFromSlice(address.To4()); ok {
		return a, macOf(request.ClientHWAddr)
	}
	return broadcastAddress, broadcastMAC
}
