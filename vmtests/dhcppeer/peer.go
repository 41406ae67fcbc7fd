package dhcppeer

import (
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// Peer is what a NIC of a guest is wired to.
type Peer struct {
	config Config
	link   *link

	mu        sync.Mutex
	behaviour Behaviour
	received  map[dhcpv4.MessageType]int
	renewals  int
}

// own is the peer's MAC address, of those that are assigned locally.
var own = mac{0x52, 0x55, 0, 0, 0, 1}

// Start starts a peer, which waits for QEMU to connect.
func Start(config Config) (*Peer, error) {
	p := &Peer{config: config, received: map[dhcpv4.MessageType]int{}}
	var err error
	p.link, err = listen(p.receive)
	return p, err
}

// Netdev is QEMU's network backend (without an id) that leads to the peer.
func (p *Peer) Netdev() string {
	return "stream,server=off,addr.type=unix,addr.path=" + p.link.path()
}

// Close unplugs the guest and removes what was made for it.
func (p *Peer) Close() error { return p.link.close() }

// Behave has the server answer in that way from the next message on.
func (p *Peer) Behave(b Behaviour) {
	p.mu.Lock()
	p.behaviour = b
	p.mu.Unlock()
}

// Received is how many messages of each type have come.
func (p *Peer) Received() map[dhcpv4.MessageType]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make(map[dhcpv4.MessageType]int, len(p.received))
	for t, n := range p.received {
		all[t] = n
	}
	return all
}

// Renewals is how many requests of a client that had its address already
// (RFC 2131 section 4.3.2: ciaddr is filled in) have been granted.
func (p *Peer) Renewals() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.renewals
}

func (p *Peer) receive(frame []byte) {
	from, etherType, payload, ok := ethernet(frame)
	if !ok {
		return
	}
	switch etherType {
	case etherTypeARP:
		if a, ok := parseARP(payload); ok && a.operation == arpRequest && a.target == p.config.Server.Addr() {
			p.link.send(ethernetFrame(from, own, etherTypeARP, a.answer(own)))
		}
	case etherTypeIPv4:
		if d, ok := parseDatagram(payload); ok && d.to.Port() == dhcpv4.ServerPort {
			p.serve(d.payload)
		}
	}
}

// serve counts and answers a DHCP message; what is none is not for the server.
func (p *Peer) serve(message []byte) {
	request, err := dhcpv4.FromBytes(message)
	if err != nil || request.OpCode != dhcpv4.OpcodeBootRequest {
		return
	}
	p.mu.Lock()
	p.received[request.MessageType()]++
	behaviour := p.behaviour
	p.mu.Unlock()
	replies, err := p.config.answer(behaviour, request)
	if err != nil {
		return
	}
	for _, r := range replies {
		time.AfterFunc(r.after, func() { p.send(request, r.message) })
	}
}

func (p *Peer) send(request, message *dhcpv4.DHCPv4) {
	if message.MessageType() == dhcpv4.MessageTypeAck && !request.ClientIPAddr.IsUnspecified() {
		p.mu.Lock()
		p.renewals++
		p.mu.Unlock()
	}
	address, to := destination(request, message)
	p.link.send(ethernetFrame(to, own, etherTypeIPv4, datagram{
		from:    netip.AddrPortFrom(p.config.Server.Addr(), dhcpv4.ServerPort),
		to:      netip.AddrPortFrom(address, dhcpv4.ClientPort),
		payload: message.ToBytes(),
	}.packet()))
}

// destination is where RFC 2131 section 4.1 has the answer sent.
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
	return netip.AddrFrom4([4]byte{255, 255, 255, 255}), broadcastMAC
}

func prefixMask(p netip.Prefix) net.IPMask { return net.CIDRMask(p.Bits(), 32) }
