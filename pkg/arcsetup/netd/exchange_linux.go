package netd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"github.com/insomniacslk/dhcp/dhcpv4/server4"
	"github.com/mdlayher/packet"
	"github.com/vishvananda/netlink"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// exchanger talks DHCP on a link that is up.
type exchanger interface {
	// discover gets a lease from the first server that offers one.
	discover(ctx context.Context, link netlink.Link, d discovery) (*dhcpv4.DHCPv4, error)
	// request asks for an address that was leased before.
	request(ctx context.Context, link netlink.Link, r request) (*dhcpv4.DHCPv4, error)
	// tell sends a message that servers do not answer: DECLINE, because another host
	// has ack's address, or RELEASE, because the address is free again.
	tell(link netlink.Link, what dhcpv4.MessageType, ack *dhcpv4.DHCPv4) error
}

// discovery is one try to get a lease.
type discovery struct {
	// id is the same for all tries, so that a late answer to an earlier try counts: a server may first look for the address on the network.
	id     dhcpv4.TransactionID
	taken  time.Duration // since the first try
	wait   time.Duration // for the answer to each of the two messages
	wanted netip.Addr    // the address to ask for, if valid
}

// request is a DHCPREQUEST for an address that was leased before, in a state of RFC 2131
// section 4.4: INIT-REBOOT without ack, RENEWING with ack and server, else REBINDING.
type request struct {
	address netip.Addr
	ack     *dhcpv4.DHCPv4 // of the lease to renew
	server  netip.Addr
	wait    time.Duration // for the answer
}

// errNAK is a server's refusal to lease the address that the guest asked for.
var errNAK = errors.New("the server refused the address (DHCPNAK)")

// dhcpClient is the exchanger on real links. It uses the client under u-root's dhclient:
// dhclient.SendRequests adds 250 KB of DHCPv6, and cannot ask for an earlier address.
type dhcpClient struct{ hostname string }

// exchange runs ask with a client that talks with server, or with any server if server is nil. Each
// message is sent as often as fits into wait; ask waits for that many answers.
func (c dhcpClient) exchange(ctx context.Context, link netlink.Link, server net.IP, wait time.Duration, answers int,
	ask func(context.Context, *nclient4.Client) (*dhcpv4.DHCPv4, error),
) (*dhcpv4.DHCPv4, error) {
	conn, to, err := listen(link, server)
	if err != nil {
		return nil, err
	}
	client, err := nclient4.NewWithConn(conn, link.Attrs().HardwareAddr, nclient4.WithServerAddr(to),
		nclient4.WithTimeout(firstPause(wait)), nclient4.WithRetry(sends))
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	defer client.Close() //nolint:errcheck // nothing is left in it
	// The client waits anew after each message of the transaction, so it needs a limit of its own.
	ctx, cancel := context.WithTimeoutCause(ctx, time.Duration(answers)*wait+time.Second, nclient4.ErrNoResponse)
	defer cancel()
	answer, err := ask(ctx, client)
	switch {
	case errors.As(err, new(*nclient4.ErrNak)), err == nil && answer.MessageType() == dhcpv4.MessageTypeNak:
		return nil, errNAK
	case err != nil && ctx.Err() != nil:
		return nil, context.Cause(ctx)
	}
	return answer, err
}

func (c dhcpClient) discover(ctx context.Context, link netlink.Link, d discovery) (*dhcpv4.DHCPv4, error) {
	modifiers := append(c.common(link),
		dhcpv4.WithTransactionID(d.id),
		func(m *dhcpv4.DHCPv4) {
			m.NumSeconds = uint16(min(d.taken/time.Second, 0xffff))
			if d.wanted.IsValid() && m.MessageType() == dhcpv4.MessageTypeDiscover {
				m.UpdateOption(dhcpv4.OptRequestedIPAddress(d.wanted.AsSlice()))
			}
		})
	return c.exchange(ctx, link, nil, d.wait, 2, func(ctx context.Context, client *nclient4.Client) (*dhcpv4.DHCPv4, error) {
		lease, err := client.Request(ctx, modifiers...)
		if err != nil {
			return nil, err
		}
		return lease.ACK, nil
	})
}

func (c dhcpClient) request(ctx context.Context, link netlink.Link, r request) (*dhcpv4.DHCPv4, error) {
	modifiers := append(c.common(link), dhcpv4.WithTransactionID(newTransactionID()),
		dhcpv4.WithOption(dhcpv4.OptMaxMessageSize(nclient4.MaxMessageSize)))
	var message *dhcpv4.DHCPv4
	var err error
	if r.ack != nil {
		message, err = dhcpv4.NewRenewFromAck(r.ack, modifiers...)
	} else { // dhcpv4 has no message for INIT-REBOOT
		message, err = dhcpv4.New(append(modifiers, dhcpv4.WithMessageType(dhcpv4.MessageTypeRequest),
			dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(r.address.AsSlice())))...)
	}
	if err != nil {
		return nil, err
	}
	return c.exchange(ctx, link, r.server.AsSlice(), r.wait, 1, func(ctx context.Context, client *nclient4.Client) (*dhcpv4.DHCPv4, error) {
		return client.SendAndRead(ctx, client.RemoteAddr(), message, nclient4.IsMessageType(dhcpv4.MessageTypeAck, dhcpv4.MessageTypeNak))
	})
}

func (c dhcpClient) tell(link netlink.Link, what dhcpv4.MessageType, ack *dhcpv4.DHCPv4) error {
	server := ack.ServerIdentifier()
	if server == nil {
		return errors.New("the lease has no server")
	}
	to, address := server, dhcpv4.WithClientIP(ack.YourIPAddr)
	if what == dhcpv4.MessageTypeDecline { // a broadcast, because the address is not ours
		to, address = nil, dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(ack.YourIPAddr))
	}
	message, err := dhcpv4.New(dhcpv4.WithMessageType(what), dhcpv4.WithHwAddr(link.Attrs().HardwareAddr),
		dhcpv4.WithOption(clientID(link)), dhcpv4.WithOption(dhcpv4.OptServerIdentifier(server)), address)
	if err != nil {
		return err
	}
	conn, port, err := listen(link, to)
	if err != nil {
		return err
	}
	_, err = conn.WriteTo(message.ToBytes(), port)
	return errors.Join(err, conn.Close())
}

// newTransactionID waits until the kernel has entropy: dhcpv4 would spin on GRND_NONBLOCK. A blocking read makes the kernel gather entropy.
func newTransactionID() (id dhcpv4.TransactionID) {
	for {
		// A short blocking read has no other error (getrandom(2)).
		if _, err := unix.Getrandom(id[:], 0); !errors.Is(err, unix.EINTR) {
			return id
		}
	}
}

// clientID is made of the MAC address (RFC 2132 section 9.14): a guest without a disk has no other identity that lasts.
func clientID(link netlink.Link) dhcpv4.Option {
	const ethernet = 1 // hardware type of RFC 1700
	return dhcpv4.OptClientIdentifier(append([]byte{ethernet}, link.Attrs().HardwareAddr...))
}

// common returns what DISCOVER and REQUEST say in all states. It replaces what the libraries ask for by default, which is for network boot.
func (c dhcpClient) common(link netlink.Link) []dhcpv4.Modifier {
	modifiers := []dhcpv4.Modifier{
		dhcpv4.WithHwAddr(link.Attrs().HardwareAddr),
		dhcpv4.WithOption(dhcpv4.OptClassIdentifier("arcinit")),
		dhcpv4.WithOption(clientID(link)),
		dhcpv4.WithOption(dhcpv4.OptParameterRequestList(
			dhcpv4.OptionSubnetMask, dhcpv4.OptionInterfaceMTU,
			dhcpv4.OptionClasslessStaticRoute, dhcpv4.OptionRouter, // in this order (RFC 3442)
			dhcpv4.OptionDomainNameServer, dhcpv4.OptionHostName, dhcpv4.OptionDomainName, dhcpv4.OptionDNSDomainSearchList,
			dhcpv4.OptionServerIdentifier,
			dhcpv4.OptionIPAddressLeaseTime, dhcpv4.OptionRenewTimeValue, dhcpv4.OptionRebindingTimeValue)),
	}
	if c.hostname != "" {
		modifiers = append(modifiers, dhcpv4.WithOption(dhcpv4.OptHostName(c.hostname)))
	}
	return modifiers
}

// listen opens the DHCP client's port of a link, and returns the address to send to. With a server, the port is a UDP socket, which also
// gets broadcasts, because some servers answer with one. Without a server, it is a packet socket: the link needs no address.
func listen(link netlink.Link, server net.IP) (net.PacketConn, *net.UDPAddr, error) {
	port := &net.UDPAddr{Port: dhcpv4.ClientPort}
	if server != nil {
		conn, err := server4.NewIPv4UDPConn(link.Attrs().Name, port)
		return conn, &net.UDPAddr{IP: server, Port: dhcpv4.ServerPort}, err
	}
	filter, err := bpf.Assemble(dhcpAnswers)
	if err != nil {
		return nil, nil, fmt.Errorf("filter DHCP messages: %w", err)
	}
	conn, err := listenPackets(link, unix.ETH_P_IP, filter)
	if err != nil {
		return nil, nil, fmt.Errorf("listen for DHCP messages on %s: %w", link.Attrs().Name, err)
	}
	return nclient4.NewBroadcastUDPConn(conn, port), nclient4.DefaultServers, nil
}

// listenPackets opens a socket for those packets of a protocol on link that pass filter, without their link-layer headers.
func listenPackets(link netlink.Link, protocol int, filter []bpf.RawInstruction) (*packet.Conn, error) {
	a := link.Attrs()
	return packet.Listen(&net.Interface{Index: a.Index, Name: a.Name, HardwareAddr: a.HardwareAddr},
		packet.Datagram, protocol, &packet.Config{Filter: filter})
}

// dhcpAnswers passes UDP datagrams to the port of a DHCP client, so that nothing else wakes the client. Of a fragmented
// datagram it passes the first part. The offsets are from RFC 791 section 3.1 and RFC 768.
var dhcpAnswers = []bpf.Instruction{
	bpf.LoadAbsolute{Off: 0, Size: 1}, // version and header length
	bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 0xf0},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 0x40, SkipTrue: 8},
	bpf.LoadAbsolute{Off: 9, Size: 1}, // protocol
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.IPPROTO_UDP, SkipTrue: 6},
	bpf.LoadAbsolute{Off: 6, Size: 2}, // fragment offset
	bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: 0x1fff, SkipTrue: 4},
	bpf.LoadMemShift{Off: 0},          // the header's length
	bpf.LoadIndirect{Off: 2, Size: 2}, // destination port
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: dhcpv4.ClientPort, SkipTrue: 1},
	bpf.RetConstant{Val: 1<<16 - 1}, // bytes: all
	bpf.RetConstant{Val: 0},
}
