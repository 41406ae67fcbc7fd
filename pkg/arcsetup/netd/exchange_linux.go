package netd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"github.com/insomniacslk/dhcp/dhcpv4/server4"
	"github.com/insomniacslk/dhcp/iana"
	"github.com/mdlayher/packet"
	"github.com/vishvananda/netlink"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// exchanger talks DHCP on a link that is up.
type exchanger interface {
	// discover gets a lease from the first server that offers one.
	discover(ctx context.Context, link netlink.Link, d discovery) (grant, error)
	// request asks for an address that was leased before.
	request(ctx context.Context, link netlink.Link, r request) (grant, error)
	// tell sends a message that servers do not answer: DECLINE, because another host
	// has ack's address, or RELEASE, because the address is free again.
	tell(link netlink.Link, what dhcpv4.MessageType, ack *dhcpv4.DHCPv4) error
}

// grant is a server's ACK. The lease counts from the moment when the REQUEST was first sent (RFC 2131 section 4.4.1).
type grant struct {
	*dhcpv4.DHCPv4
	requested time.Time
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
type dhcpClient struct {
	hostname string
	now      func() time.Time
}

// open opens a client that sends each message as often as fits into wait. To is as for listen.
func open(link netlink.Link, to net.IP, wait time.Duration) (*nclient4.Client, error) {
	conn, server, err := listen(link, to)
	if err != nil {
		return nil, err
	}
	client, err := nclient4.NewWithConn(conn, link.Attrs().HardwareAddr, nclient4.WithServerAddr(server),
		nclient4.WithTimeout(firstPause(wait)), nclient4.WithRetry(sends))
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return client, nil
}

// ask sends a message and returns the first answer that suits. An answer to another client of our MAC address never does (RFC 6842 section 3).
func ask(ctx context.Context, client *nclient4.Client, wait time.Duration, message *dhcpv4.DHCPv4, suits nclient4.Matcher) (*dhcpv4.DHCPv4, error) {
	own := message.Options.Get(dhcpv4.OptionClientIdentifier)
	// The client waits anew after each message of the transaction, so it needs a limit of its own.
	ctx, cancel := context.WithTimeoutCause(ctx, wait*3/2, nclient4.ErrNoResponse)
	defer cancel()
	answer, err := client.SendAndRead(ctx, client.RemoteAddr(), message, func(m *dhcpv4.DHCPv4) bool {
		id := m.Options.Get(dhcpv4.OptionClientIdentifier)
		return (id == nil || bytes.Equal(id, own)) && suits(m)
	})
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err == nil && answer.MessageType() == dhcpv4.MessageTypeNak:
		return nil, errNAK
	}
	return answer, err
}

// isVerdict reports whether m answers a REQUEST.
func isVerdict(m *dhcpv4.DHCPv4) bool {
	return m.MessageType() == dhcpv4.MessageTypeAck || m.MessageType() == dhcpv4.MessageTypeNak
}

func (c dhcpClient) discover(ctx context.Context, link netlink.Link, d discovery) (g grant, err error) {
	modifiers := append(c.common(link), dhcpv4.WithTransactionID(d.id), func(m *dhcpv4.DHCPv4) {
		m.NumSeconds, m.ClientIPAddr = uint16(min(d.taken/time.Second, 0xffff)), net.IPv4zero
		if d.wanted.IsValid() && m.MessageType() == dhcpv4.MessageTypeDiscover {
			m.UpdateOption(dhcpv4.OptRequestedIPAddress(d.wanted.AsSlice()))
		}
	})
	client, err := open(link, nil, d.wait)
	if err != nil {
		return grant{}, err
	}
	defer client.Close() //nolint:errcheck // nothing is left in it
	message, err := dhcpv4.NewDiscovery(link.Attrs().HardwareAddr, modifiers...)
	if err != nil {
		return grant{}, err
	}
	var refused error // of the last offer that cannot be used, while another server may have a better one
	offer, err := ask(ctx, client, d.wait, message, func(m *dhcpv4.DHCPv4) bool {
		if m.MessageType() != dhcpv4.MessageTypeOffer {
			return false
		}
		refused = usable(m)
		return refused == nil
	})
	if errors.Is(err, nclient4.ErrNoResponse) && refused != nil {
		return grant{}, refused
	}
	if err != nil {
		return grant{}, err
	}
	if message, err = dhcpv4.NewRequestFromOffer(offer, modifiers...); err != nil {
		return grant{}, err
	}
	server := offer.ServerIdentifier()
	if server == nil { // a request to all servers for an address, as in INIT-REBOOT; a malformed identifier is not repeated
		message.Options.Del(dhcpv4.OptionServerIdentifier)
	}
	g.requested = c.now()
	g.DHCPv4, err = ask(ctx, client, d.wait, message, func(m *dhcpv4.DHCPv4) bool {
		from := m.ServerIdentifier()
		return isVerdict(m) && (server == nil || from == nil || from.Equal(server))
	})
	return g, err
}

func (c dhcpClient) request(ctx context.Context, link netlink.Link, r request) (g grant, err error) {
	modifiers := append(c.common(link), dhcpv4.WithTransactionID(newTransactionID()))
	var message *dhcpv4.DHCPv4
	var to net.IP
	if r.ack != nil {
		message, err = dhcpv4.NewRenewFromAck(r.ack, modifiers...)
		to = net.IPv4bcast
		if r.server.IsValid() {
			to = r.server.AsSlice()
		}
	} else { // dhcpv4 has no message for INIT-REBOOT
		message, err = dhcpv4.New(append(modifiers, dhcpv4.WithMessageType(dhcpv4.MessageTypeRequest),
			dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(r.address.AsSlice())))...)
	}
	if err != nil {
		return grant{}, err
	}
	client, err := open(link, to, r.wait)
	if err != nil {
		return grant{}, err
	}
	defer client.Close() //nolint:errcheck // nothing is left in it
	g.requested = c.now()
	g.DHCPv4, err = ask(ctx, client, r.wait, message, isVerdict)
	return g, err
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

// clientID is made of the MAC address (RFC 2132 section 9.14). RFC 4361 wants a DUID instead, but hosts find a guest's lease by its MAC
// address, and a guest without a disk has no other identity that lasts.
func clientID(link netlink.Link) dhcpv4.Option {
	return dhcpv4.OptClientIdentifier(append([]byte{byte(iana.HWTypeEthernet)}, link.Attrs().HardwareAddr...))
}

// parameters lists the options that the client asks for and reads: routes in the order of RFC 3442.
var parameters = dhcpv4.OptParameterRequestList(
	dhcpv4.OptionSubnetMask, dhcpv4.OptionInterfaceMTU, dhcpv4.OptionClasslessStaticRoute, microsoftRoutes, dhcpv4.OptionRouter,
	dhcpv4.OptionDomainNameServer, dhcpv4.OptionHostName, dhcpv4.OptionDomainName, dhcpv4.OptionDNSDomainSearchList,
	dhcpv4.OptionServerIdentifier, dhcpv4.OptionIPAddressLeaseTime, dhcpv4.OptionRenewTimeValue, dhcpv4.OptionRebindingTimeValue)

// maxMessage is the size in bytes of the largest message that fits into one packet, behind its IPv4 and UDP headers: the client does not join
// fragments.
const maxMessage = nclient4.MaxMessageSize - 20 - 8

// common returns what DISCOVER and REQUEST say in all states. It replaces what the libraries ask for by default, which is for network boot.
func (c dhcpClient) common(link netlink.Link) []dhcpv4.Modifier {
	modifiers := []dhcpv4.Modifier{
		dhcpv4.WithHwAddr(link.Attrs().HardwareAddr),
		dhcpv4.WithOption(dhcpv4.OptClassIdentifier("arcinit")),
		dhcpv4.WithOption(clientID(link)),
		dhcpv4.WithOption(parameters),
		dhcpv4.WithOption(dhcpv4.OptMaxMessageSize(maxMessage)),
		func(m *dhcpv4.DHCPv4) { m.HWType, m.Flags = iana.HWTypeEthernet, 0 }, // the library repeats a server's
	}
	if c.hostname != "" {
		modifiers = append(modifiers, dhcpv4.WithOption(dhcpv4.OptHostName(c.hostname)))
	}
	return modifiers
}

// listen opens the DHCP client's port of a link, and returns the address to send to: to, which may be a broadcast, from the link's address,
// or, if to is nil, all servers, from 0.0.0.0.
func listen(link netlink.Link, to net.IP) (*port, *net.UDPAddr, error) {
	filter, err := bpf.Assemble(dhcpAnswers)
	if err != nil {
		return nil, nil, fmt.Errorf("filter DHCP messages: %w", err)
	}
	conn, err := listenPackets(link, unix.ETH_P_IP, filter)
	if err != nil {
		return nil, nil, fmt.Errorf("listen for DHCP messages on %s: %w", link.Attrs().Name, err)
	}
	own := &net.UDPAddr{Port: dhcpv4.ClientPort}
	in := nclient4.NewBroadcastUDPConn(conn, own)
	if to == nil {
		return &port{in, in}, nclient4.DefaultServers, nil
	}
	out, err := server4.NewIPv4UDPConn(link.Attrs().Name, own)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("send DHCP messages on %s: %w", link.Attrs().Name, err), conn.Close())
	}
	return &port{in, out}, &net.UDPAddr{IP: to, Port: dhcpv4.ServerPort}, nil
}

// port is the DHCP client's port of a link. It receives by a packet socket, which needs no address, and gets datagrams whose checksum the
// sender left to a virtual NIC that has not filled it in.
type port struct {
	net.PacketConn
	out net.PacketConn // sends: the same socket, or one with the link's address
}

func (p *port) WriteTo(b []byte, to net.Addr) (int, error) { return p.out.WriteTo(b, to) }

func (p *port) ReadFrom(b []byte) (n int, from net.Addr, err error) {
	n, from, err = p.PacketConn.ReadFrom(b)
	return copy(b, unfold(b[:n])), from, err
}

func (p *port) Close() error {
	err := p.out.Close()
	if p.out != p.PacketConn {
		err = errors.Join(err, p.PacketConn.Close())
	}
	return err
}

// unfold moves the options in a message's fields file and sname to the others, because dhcpv4 only reads those (RFC 2132 section 9.3, and RFC
// 3396 section 5 for the order). It leaves out options that the client does not read: servers use these fields when a message is full. It
// returns other messages as they are, and those that would get too long.
func unfold(b []byte) []byte {
	const sname, file, end = 44, 108, 236 // offsets in bytes (RFC 2131 section 2)
	if !bytes.Contains(b, []byte{dhcpv4.OptionOptionOverload.Code(), 1}) {
		return b // most messages are not parsed here
	}
	// ISC's server sends a full options field without its end.
	m, err := dhcpv4.FromBytes(append(b[:len(b):len(b)], dhcpv4.OptionEnd.Code()))
	if err != nil || len(m.Options.Get(dhcpv4.OptionOptionOverload)) != 1 {
		return b
	}
	used := m.Options.Get(dhcpv4.OptionOptionOverload)[0]
	m.BootFileName, m.ServerHostName = "", ""
	if used&1 != 0 {
		err = m.Options.FromBytes(b[file:end])
	}
	if used&2 != 0 {
		err = errors.Join(err, m.Options.FromBytes(b[sname:file]))
	}
	read := append(parameters.Value.ToBytes(), dhcpv4.OptionDHCPMessageType.Code(), dhcpv4.OptionClientIdentifier.Code())
	maps.DeleteFunc(m.Options, func(code uint8, _ []byte) bool { return !slices.Contains(read, code) })
	if unfolded := m.ToBytes(); err == nil && len(unfolded) <= nclient4.MaxMessageSize {
		return unfolded
	}
	return b
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
