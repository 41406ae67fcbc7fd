package dhcppeer

import (
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// Lease is what the server leases.
type Lease struct {
	// Client is the only address that the server leases, to any client.
	Client netip.Addr
	// Time is how long the lease lasts, in whole seconds; one hour by default.
	Time time.Duration
	// Identifier is the server identifier; the server's own address by default.
	Identifier netip.Addr
	// Options add to or replace the server identifier, lease time and subnet mask in each
	// OFFER and ACK.
	Options []dhcpv4.Option
	// Edit, if not nil, changes each OFFER and ACK last.
	Edit func(*dhcpv4.DHCPv4)
}

// withDefaults returns the lease with the defaults of a server at that address.
func (l Lease) withDefaults(server netip.Addr) Lease {
	if l.Time == 0 {
		l.Time = time.Hour
	}
	if !l.Identifier.IsValid() {
		l.Identifier = server
	}
	return l
}

// answer returns a good server's answer to a message: none or one reply.
func (e *Exchange) answer() []Reply {
	switch e.Kind {
	case Discover:
		return []Reply{e.Reply(dhcpv4.MessageTypeOffer)}
	case Selecting:
		if !e.ServerIdentifier().Equal(e.lease.Identifier.AsSlice()) {
			return nil // another server's offer was taken
		}
		return e.grant(e.RequestedIPAddress())
	case InitReboot:
		return e.grant(e.RequestedIPAddress())
	case Renewing, Rebinding:
		return e.grant(e.ClientIPAddr)
	}
	return nil
}

func (e *Exchange) grant(wanted net.IP) []Reply {
	if !wanted.Equal(e.lease.Client.AsSlice()) {
		return []Reply{e.Reply(dhcpv4.MessageTypeNak)}
	}
	return []Reply{e.Reply(dhcpv4.MessageTypeAck)}
}

// Reply returns a reply of that type to the message. OFFER and ACK have the lease.
func (e *Exchange) Reply(t dhcpv4.MessageType, modifiers ...dhcpv4.Modifier) Reply {
	m := &dhcpv4.DHCPv4{
		OpCode: dhcpv4.OpcodeBootReply, HWType: e.HWType, TransactionID: e.TransactionID, Flags: e.Flags,
		GatewayIPAddr: e.GatewayIPAddr, ClientHWAddr: e.ClientHWAddr, Options: dhcpv4.Options{},
	}
	m.UpdateOption(dhcpv4.OptMessageType(t))
	m.UpdateOption(dhcpv4.OptServerIdentifier(e.lease.Identifier.AsSlice()))
	if id := e.Options.Get(dhcpv4.OptionClientIdentifier); id != nil {
		m.UpdateOption(dhcpv4.OptClientIdentifier(id)) // RFC 6842
	}
	if t != dhcpv4.MessageTypeNak {
		m.YourIPAddr = e.lease.Client.AsSlice()
		m.UpdateOption(dhcpv4.OptIPAddressLeaseTime(e.lease.Time))
		m.UpdateOption(dhcpv4.OptSubnetMask(net.CIDRMask(e.server.Bits(), 32)))
		for _, o := range e.lease.Options {
			m.UpdateOption(o)
		}
		if e.lease.Edit != nil {
			e.lease.Edit(m)
		}
	}
	for _, modify := range modifiers {
		modify(m)
	}
	r := Reply{Type: t, To: e.Kind, Payload: m.ToBytes()}
	r.address, r.mac = destination(e.DHCPv4, m)
	return r
}
