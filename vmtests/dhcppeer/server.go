package dhcppeer

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// Config is what a peer's DHCP server has to give.
type Config struct {
	// Server is the peer's own address, with the length of the subnet's prefix.
	Server netip.Prefix
	// Client is the one address that it leases, to whoever asks.
	Client netip.Addr
	// Lease is for how long, in whole seconds; one hour by default.
	Lease time.Duration
	// Options are in each offer and ACK, beside those that make a lease:
	// server identifier, lease time and subnet mask.
	Options []dhcpv4.Option
}

// Behaviour is how the server answers. The zero Behaviour is a good server's.
type Behaviour struct {
	// Silent servers count what they are asked and say nothing.
	Silent bool
	// Delay is the time from a message to its answer.
	Delay time.Duration
}

// reply is a message on its way to the guest.
type reply struct {
	after   time.Duration
	message *dhcpv4.DHCPv4
}

// answer is what the server says to a message: nothing, one reply, or several.
func (c Config) answer(b Behaviour, request *dhcpv4.DHCPv4) ([]reply, error) {
	messageType := c.typeOfAnswer(request)
	if b.Silent || messageType == dhcpv4.MessageTypeNone {
		return nil, nil
	}
	server := c.Server.Addr().AsSlice()
	modifiers := []dhcpv4.Modifier{
		dhcpv4.WithMessageType(messageType),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(server)),
	}
	if messageType != dhcpv4.MessageTypeNak {
		lease := c.Lease
		if lease == 0 {
			lease = time.Hour
		}
		modifiers = append(modifiers,
			dhcpv4.WithYourIP(c.Client.AsSlice()),
			dhcpv4.WithOption(dhcpv4.OptIPAddressLeaseTime(lease)),
			dhcpv4.WithOption(dhcpv4.OptSubnetMask(prefixMask(c.Server))),
		)
		for _, o := range c.Options {
			modifiers = append(modifiers, dhcpv4.WithOption(o))
		}
	}
	message, err := dhcpv4.NewReplyFromRequest(request, modifiers...)
	if err != nil {
		return nil, fmt.Errorf("answer %s: %w", request.MessageType(), err)
	}
	return []reply{{after: b.Delay, message: message}}, nil
}

// typeOfAnswer follows RFC 2131 section 4.3; none is for what asks for no answer,
// or another server.
func (c Config) typeOfAnswer(request *dhcpv4.DHCPv4) dhcpv4.MessageType {
	switch request.MessageType() {
	case dhcpv4.MessageTypeDiscover:
		return dhcpv4.MessageTypeOffer
	case dhcpv4.MessageTypeRequest:
		if other := request.ServerIdentifier(); other != nil && !other.Equal(c.Server.Addr().AsSlice()) {
			return dhcpv4.MessageTypeNone
		}
		wanted := request.RequestedIPAddress()
		if wanted == nil {
			wanted = request.ClientIPAddr
		}
		if !wanted.Equal(c.Client.AsSlice()) {
			return dhcpv4.MessageTypeNak
		}
		return dhcpv4.MessageTypeAck
	}
	return dhcpv4.MessageTypeNone
}
