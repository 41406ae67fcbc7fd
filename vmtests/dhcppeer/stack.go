package dhcppeer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/link/channel"
	"gvisor.dev/gvisor/pkg/tcpip/link/ethernet"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

// The stack's NICs: the guest's cable, and one for the addresses of hosts that are not on
// the link.
const (
	cable  tcpip.NICID = 1
	beyond tcpip.NICID = 2
)

const (
	mtu   = 1500
	queue = 1024 // frames that wait to be sent; more are lost
)

// network is the IP stack of all hosts at the peer's end.
type network struct {
	stack *stack.Stack
	nic   *channel.Endpoint
	stop  context.CancelFunc
	sent  sync.WaitGroup
}

func newNetwork(link mac, host netip.Prefix) (*network, error) {
	n := &network{nic: channel.New(queue, mtu+ethernetHeader, tcpip.LinkAddress(link[:]))}
	n.stack = stack.New(stack.Options{
		NetworkProtocols: []stack.NetworkProtocolFactory{
			ipv4.NewProtocol, arp.NewProtocol,
			// Such a host only answers: it solicits no router and probes no address.
			ipv6.NewProtocolWithOptions(ipv6.Options{AutoGenLinkLocal: true}),
		},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, icmp.NewProtocol4, icmp.NewProtocol6},
	})
	err := errors.Join(
		failure(n.stack.CreateNIC(cable, ethernet.New(n.nic))),
		failure(n.stack.CreateNIC(beyond, channel.New(0, mtu, ""))),
		failure(n.stack.SetForwardingDefaultAndAllNICs(ipv4.ProtocolNumber, true)),
		// Ten ARP requests a second find a guest soon after it has its address.
		failure(n.stack.SetNUDConfigurations(cable, ipv4.ProtocolNumber, stack.NUDConfigurations{
			RetransmitTimer: 100 * time.Millisecond, MaxMulticastProbes: 30,
		})),
		n.add(cable, host, stack.CanBePrimaryEndpoint),
		n.onLink(host),
		n.onLink(netip.MustParsePrefix("fe80::/10")),
	)
	if err != nil {
		n.stack.Destroy()
		return nil, fmt.Errorf("make a network stack: %w", err)
	}
	return n, nil
}

// carry passes outgoing frames to send until the network is closed.
func (n *network) carry(send func(frame []byte)) {
	ctx, stop := context.WithCancel(context.Background())
	n.stop = stop
	n.sent.Go(func() {
		for packet := n.nic.ReadContext(ctx); packet != nil; packet = n.nic.ReadContext(ctx) {
			frame := packet.ToBuffer()
			send(frame.Flatten())
			frame.Release()
			packet.DecRef()
		}
	})
}

func (n *network) close() {
	if n.stop != nil {
		n.stop()
		n.sent.Wait()
	}
	n.stack.Destroy()
}

func (n *network) receive(frame []byte) {
	packet := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(frame)})
	n.nic.InjectInbound(0, packet) // the frame has its protocol
	packet.DecRef()
}

// Neighbour adds a host on the link. It answers ARP for its address.
func (p *Peer) Neighbour(address netip.Addr) (*Host, error) {
	return p.network.host(cable, address)
}

// Beyond adds a host that is not on the link. The guest reaches it with the peer as a
// gateway.
func (p *Peer) Beyond(address netip.Addr) (*Host, error) {
	return p.network.host(beyond, address)
}

// Route makes all hosts look for those addresses on the link by ARP, like those of the
// server's subnet.
func (p *Peer) Route(to netip.Prefix) error { return p.network.onLink(to) }

func (n *network) host(nic tcpip.NICID, address netip.Addr) (*Host, error) {
	err := n.add(nic, netip.PrefixFrom(address, address.BitLen()), stack.NeverPrimaryEndpoint)
	if err != nil {
		return nil, err
	}
	return &Host{network: n, address: address}, nil
}

func (n *network) add(nic tcpip.NICID, p netip.Prefix, behaviour stack.PrimaryEndpointBehavior) error {
	err := n.stack.AddProtocolAddress(nic, tcpip.ProtocolAddress{
		Protocol:          ipv4.ProtocolNumber,
		AddressWithPrefix: tcpip.AddressWithPrefix{Address: stackAddress(p.Addr()), PrefixLen: p.Bits()},
	}, stack.AddressProperties{PEB: behaviour})
	if err != nil {
		return fmt.Errorf("add address %s: %w", p, failure(err))
	}
	return nil
}

func (n *network) remove(address netip.Addr) error {
	for _, nic := range []tcpip.NICID{cable, beyond} {
		if n.stack.RemoveAddress(nic, stackAddress(address)) == nil {
			return nil
		}
	}
	return fmt.Errorf("remove address %s: nobody has it", address)
}

func (n *network) onLink(p netip.Prefix) error {
	p = p.Masked()
	subnet, err := tcpip.NewSubnet(stackAddress(p.Addr()), tcpip.MaskFromBytes(net.CIDRMask(p.Bits(), p.Addr().BitLen())))
	if err != nil {
		return fmt.Errorf("route to %s: %w", p, err)
	}
	n.stack.AddRoute(tcpip.Route{Destination: subnet, NIC: cable})
	return nil
}

func stackAddress(a netip.Addr) tcpip.Address { return tcpip.AddrFromSlice(a.AsSlice()) }

// failure returns an error of the stack as an error of Go.
func failure(err tcpip.Error) error {
	if err == nil {
		return nil
	}
	return errors.New(err.String())
}
