package dhcppeer

import (
	"cmp"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// Config is the initial state of a peer.
type Config struct {
	// Server is the peer's own address, with the length of the subnet's prefix.
	Server netip.Prefix
	// Lease is what its DHCP server leases.
	Lease Lease
	// Seed seeds random faults: the same messages in the same order get the same faults.
	Seed uint64
}

// Peer is the other end of a guest's NIC. As a host, it is the DHCP server.
type Peer struct {
	Host
	server netip.Prefix
	link   *link
	narrow atomic.Int64 // the largest IP packet that reaches the guest, if not 0

	mu       sync.Mutex
	lease    Lease
	faults   []Fault
	random   *rand.Rand
	messages []Message
	bad      []error
	replies  []Reply
}

// own is the peer's MAC address, a locally administered one.
var own = mac{0x52, 0x55, 0, 0, 0, 1}

// Start starts a peer, which waits for QEMU to connect.
func Start(config Config) (*Peer, error) {
	p := &Peer{server: config.Server, random: rand.New(rand.NewPCG(config.Seed, 0))}
	p.Lease(config.Lease)
	network, err := newNetwork(own, config.Server)
	if err != nil {
		return nil, err
	}
	p.Host = Host{network: network, address: config.Server.Addr()}
	if p.link, err = listen(p.receive); err != nil {
		network.close()
		return nil, err
	}
	network.carry(p.forward)
	return p, nil
}

// Netdev returns QEMU's network backend (without an id) for the peer.
func (p *Peer) Netdev() string {
	return "stream,server=off,addr.type=unix,addr.path=" + p.link.path()
}

// Close unplugs the guest and frees the peer's resources.
func (p *Peer) Close() error {
	err := p.link.close()
	p.network.close()
	return err
}

// Behave replaces the faults, from the next message on. Without faults, the server is a good
// one.
func (p *Peer) Behave(faults ...Fault) {
	p.mu.Lock()
	p.faults = faults
	p.mu.Unlock()
}

// Lease replaces the lease, from the next message on. The server answers a REQUEST for another
// address with NAK, unless the fault Readdress changes that.
func (p *Peer) Lease(l Lease) {
	p.mu.Lock()
	p.lease = l.withDefaults(p.server.Addr())
	p.mu.Unlock()
}

// Send sends a message to all hosts that no message of the guest asked for.
func (p *Peer) Send(m *dhcpv4.DHCPv4) {
	p.send([]Reply{{Type: m.MessageType(), To: Unknown, Payload: m.ToBytes(), address: broadcastAddress, mac: broadcastMAC}})
}

// Messages returns the DHCP messages that the guest sent, in the order in which they came.
// That includes messages that a fault lost.
func (p *Peer) Messages() []Message {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.messages)
}

// Malformed returns what is wrong with the messages that cannot be parsed, which nobody answers.
func (p *Peer) Malformed() []error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.bad)
}

// Replies returns what the server sent, in order.
func (p *Peer) Replies() []Reply {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.replies)
}

// Received counts the guest's messages by type.
func (p *Peer) Received() map[dhcpv4.MessageType]int {
	all := map[dhcpv4.MessageType]int{}
	for _, m := range p.Messages() {
		all[m.MessageType()]++
	}
	return all
}

// Count counts the guest's messages of a kind.
func (p *Peer) Count(kind Kind) (n int) {
	for _, m := range p.Messages() {
		if m.Kind == kind {
			n++
		}
	}
	return n
}

// Renewals counts the ACKs to requests for renewal or rebinding.
func (p *Peer) Renewals() (n int) {
	for _, r := range p.Replies() {
		if r.Type == dhcpv4.MessageTypeAck && (r.To == Renewing || r.To == Rebinding) {
			n++
		}
	}
	return n
}

// receive passes DHCP messages to the server and everything else to the IP stack. It records malformed messages.
func (p *Peer) receive(frame []byte) {
	m, err := ReadMessage(frame)
	switch {
	case err != nil:
		p.mu.Lock()
		p.bad = append(p.bad, err)
		p.mu.Unlock()
	case m == nil:
		p.network.receive(frame)
	case m.OpCode == dhcpv4.OpcodeBootRequest:
		p.serve(*m)
	}
}

// serve records and answers a client's message.
func (p *Peer) serve(m Message) {
	p.mu.Lock()
	p.messages = append(p.messages, m)
	e := &Exchange{Message: m, server: p.server, lease: p.lease, random: p.random}
	e.Replies = e.answer()
	for _, fault := range p.faults {
		fault(e)
	}
	p.mu.Unlock()

	// Replies that are due at the same time keep their order.
	slices.SortStableFunc(e.Replies, func(a, b Reply) int { return cmp.Compare(a.After, b.After) })
	for len(e.Replies) > 0 {
		after, n := e.Replies[0].After, 1
		for n < len(e.Replies) && e.Replies[n].After == after {
			n++
		}
		due := e.Replies[:n]
		e.Replies = e.Replies[n:]
		if after <= 0 {
			p.send(due)
		} else {
			time.AfterFunc(after, func() { p.send(due) })
		}
	}
}

func (p *Peer) send(replies []Reply) {
	for _, r := range replies {
		r.At = time.Now()
		p.mu.Lock()
		p.replies = append(p.replies, r)
		p.mu.Unlock()
		from := r.From
		if !from.IsValid() {
			from = p.server.Addr()
		}
		packets := [][]byte{datagram{
			from:       netip.AddrPortFrom(from, dhcpv4.ServerPort),
			to:         netip.AddrPortFrom(r.address, dhcpv4.ClientPort),
			payload:    r.Payload,
			unfinished: r.Unfinished,
		}.packet()}
		if r.Repack != nil {
			packets = r.Repack(packets[0])
		}
		for _, packet := range packets {
			p.link.send(ethernetFrame(r.mac, own, etherTypeIPv4, packet))
		}
	}
}
