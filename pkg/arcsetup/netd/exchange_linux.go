package netd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// exchanger talks DHCP on a link that is up.
type exchanger interface {
	// discover gets a lease from whichever server offers one.
	discover(ctx context.Context, link netlink.Link, d discovery) (*dhcpv4.DHCPv4, error)
	// request asks for a lease that there was before.
	request(ctx context.Context, link netlink.Link, r request) (*dhcpv4.DHCPv4, error)
	// decline tells the server that ack's address is in use by another host,
	// release that the address is not needed any more. Neither is answered.
	decline(link netlink.Link, ack *dhcpv4.DHCPv4) error
	release(link netlink.Link, ack *dhcpv4.DHCPv4) error
}

// discovery is one try to get a lease.
type discovery struct {
	// id is the same for all tries, so that a late answer to an earlier one
	// counts: a server may look for the address on the network first.
	id dhcpv4.TransactionID
	// taken is the time since the first try.
	taken time.Duration
	// wait is how long the answer to each of the two messages is waited for.
	wait time.Duration
	// wanted, if valid, is the address that is asked for.
	wanted netip.Addr
}

// request is a DHCPREQUEST for an address that was leased before. The states
// are those of RFC 2131 section 4.4: REBOOTING where renewing is false, RENEWING
// with a server, REBINDING without.
type request struct {
	address  netip.Addr
	renewing bool
	server   netip.Addr
	wait     time.Duration // for the answer
}

// errNAK is a server's refusal of the address that was asked for.
var errNAK = errors.New("the server refuses the address (DHCPNAK)")

// dhcpClient is the exchanger on real links: the client that u-root's dhclient is
// made of. dhclient itself would wait for its socket to be closed before it
// returns a lease, and bring DHCPv6 along.
type dhcpClient struct {
	hostname string
	counter  *counter
	spawn    func(name string, f func())
	after    func(time.Duration) <-chan time.Time
}

// open returns a client that talks through conn and sends each message as often
// as fits into wait.
func (c dhcpClient) open(link netlink.Link, conn net.PacketConn, wait time.Duration) (*nclient4.Client, error) {
	mac := link.Attrs().HardwareAddr
	client, err := nclient4.NewWithConn(c.counter.of(conn, mac), mac,
		nclient4.WithTimeout(firstPause(wait)), nclient4.WithRetry(sends))
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return client, nil
}

// closeDelay is for how long a client's socket outlives its exchange: longer than
// it takes to configure all NICs.
const closeDelay = 100 * time.Millisecond

// close closes a client later, when nothing waits for the processor: the kernel
// lets go of a packet socket when all processors have done with it, which takes
// some ms (packet_release, net/packet/af_packet.c), and on a single one the Go
// scheduler has nothing else run in them.
func (c dhcpClient) close(client *nclient4.Client) {
	c.spawn("DHCP socket", func() {
		<-c.after(closeDelay)
		_ = client.Close()
	})
}

// bounded is a context for an exchange that takes so long at most: the library
// begins to wait anew with each message that comes, if only the transaction is
// the right one. The error that it makes of the context's end is no server's
// fault but that of having no answer.
func bounded(ctx context.Context, wait time.Duration) (_ context.Context, result func(error) error, cancel func()) {
	limited, cancel := context.WithTimeout(ctx, wait+time.Second)
	return limited, func(err error) error {
		if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
			return nclient4.ErrNoResponse
		}
		return err
	}, cancel
}

func (c dhcpClient) discover(ctx context.Context, link netlink.Link, d discovery) (*dhcpv4.DHCPv4, error) {
	name := link.Attrs().Name
	ctx, outcome, cancel := bounded(ctx, 2*d.wait)
	defer cancel()
	modifiers := append(c.asking(link),
		dhcpv4.WithTransactionID(d.id),
		func(m *dhcpv4.DHCPv4) {
			m.NumSeconds = uint16(min(d.taken/time.Second, 0xffff))
			if d.wanted.IsValid() && m.MessageType() == dhcpv4.MessageTypeDiscover {
				m.UpdateOption(dhcpv4.OptRequestedIPAddress(d.wanted.AsSlice()))
			}
		})
	conn, err := listenDHCP(link)
	if err != nil {
		return nil, err
	}
	client, err := c.open(link, conn, d.wait)
	if err != nil {
		return nil, fmt.Errorf("get a lease on %s: %w", name, err)
	}
	defer c.close(client)
	lease, err := client.Request(ctx, modifiers...)
	if nak := (*nclient4.ErrNak)(nil); errors.As(err, &nak) {
		return nil, errNAK
	}
	if err != nil {
		return nil, fmt.Errorf("get a lease on %s: %w", name, outcome(err))
	}
	return lease.ACK, nil
}

func (c dhcpClient) request(ctx context.Context, link netlink.Link, r request) (ack *dhcpv4.DHCPv4, err error) {
	name := link.Attrs().Name
	defer func() {
		if err != nil && !errors.Is(err, errNAK) {
			err = fmt.Errorf("ask on %s for %s again: %w", name, r.address, err)
		}
	}()
	id, err := newTransactionID()
	if err != nil {
		return nil, err
	}
	message, err := dhcpv4.New(append(c.asking(link),
		dhcpv4.WithTransactionID(id),
		dhcpv4.WithMessageType(dhcpv4.MessageTypeRequest),
		dhcpv4.WithOption(dhcpv4.OptMaxMessageSize(nclient4.MaxMessageSize)))...)
	if err != nil {
		return nil, err
	}
	if r.renewing {
		message.ClientIPAddr = r.address.AsSlice()
	} else {
		message.UpdateOption(dhcpv4.OptRequestedIPAddress(r.address.AsSlice()))
	}
	conn, to, err := r.listen(link)
	if err != nil {
		return nil, err
	}
	client, err := c.open(link, conn, r.wait)
	if err != nil {
		return nil, err
	}
	if r.isUnicast() {
		// At once: the port is wanted for a RELEASE, perhaps.
		defer client.Close() //nolint:errcheck // nothing is left in it
	} else {
		defer c.close(client)
	}
	ctx, outcome, cancel := bounded(ctx, r.wait)
	defer cancel()
	answer, err := client.SendAndRead(ctx, to, message, nclient4.IsMessageType(dhcpv4.MessageTypeAck, dhcpv4.MessageTypeNak))
	if err != nil {
		return nil, outcome(err)
	}
	if answer.MessageType() == dhcpv4.MessageTypeNak {
		return nil, errNAK
	}
	return answer, nil
}

// isUnicast reports whether the request goes to one server, from an address that
// is still leased.
func (r request) isUnicast() bool { return r.renewing && r.server.IsValid() }

// listen returns what the request is sent through, and where to: by the kernel's
// own UDP to the server that granted the lease, else to all.
func (r request) listen(link netlink.Link) (net.PacketConn, *net.UDPAddr, error) {
	if r.isUnicast() {
		conn, err := listenUDP(link.Attrs().Name)
		return conn, &net.UDPAddr{IP: r.server.AsSlice(), Port: dhcpv4.ServerPort}, err
	}
	conn, err := listenDHCP(link)
	return conn, nclient4.DefaultServers, err
}

// listenUDP opens the DHCP client's port of a link, for answers to the link's
// address and to all: some servers broadcast theirs even so.
func listenUDP(link string) (conn net.PacketConn, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("open UDP port %d of %s: %w", dhcpv4.ClientPort, link, err)
		}
	}()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	socket := os.NewFile(uintptr(fd), "udp")
	defer socket.Close() //nolint:errcheck // the connection has a descriptor of its own
	if err := unix.BindToDevice(fd, link); err != nil {
		return nil, err
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Port: dhcpv4.ClientPort}); err != nil {
		return nil, err
	}
	return net.FilePacketConn(socket)
}

func (c dhcpClient) decline(link netlink.Link, ack *dhcpv4.DHCPv4) error {
	conn, err := listenDHCP(link)
	if err != nil {
		return fmt.Errorf("decline %s: %w", ack.YourIPAddr, err)
	}
	return errors.Join(c.tell(conn, nclient4.DefaultServers, link, ack, dhcpv4.MessageTypeDecline,
		dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(ack.YourIPAddr))), conn.Close())
}

func (c dhcpClient) release(link netlink.Link, ack *dhcpv4.DHCPv4) error {
	server := ack.ServerIdentifier()
	if server == nil {
		return fmt.Errorf("release %s: the lease names no server", ack.YourIPAddr)
	}
	conn, err := listenUDP(link.Attrs().Name)
	if err != nil {
		return fmt.Errorf("release %s: %w", ack.YourIPAddr, err)
	}
	return errors.Join(c.tell(conn, &net.UDPAddr{IP: server, Port: dhcpv4.ServerPort}, link, ack, dhcpv4.MessageTypeRelease,
		dhcpv4.WithClientIP(ack.YourIPAddr)), conn.Close())
}

// tell sends a message that has no answer.
func (c dhcpClient) tell(conn net.PacketConn, to net.Addr, link netlink.Link, ack *dhcpv4.DHCPv4, what dhcpv4.MessageType, more dhcpv4.Modifier) error {
	id, err := newTransactionID()
	if err != nil {
		return err
	}
	message, err := dhcpv4.New(
		dhcpv4.WithTransactionID(id),
		dhcpv4.WithMessageType(what),
		dhcpv4.WithHwAddr(link.Attrs().HardwareAddr),
		dhcpv4.WithOption(clientID(link)),
		dhcpv4.WithOptionCopied(ack, dhcpv4.OptionServerIdentifier),
		more)
	if err != nil {
		return err
	}
	if _, err := c.counter.of(conn, nil).WriteTo(message.ToBytes(), to); err != nil {
		return fmt.Errorf("send %s for %s: %w", what, ack.YourIPAddr, err)
	}
	return nil
}

// newTransactionID waits for the kernel to have entropy: the library reads with
// GRND_NONBLOCK and spins. A blocking read makes the kernel gather some.
func newTransactionID() (id dhcpv4.TransactionID, err error) {
	for {
		_, err = unix.Getrandom(id[:], 0)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		return id, fmt.Errorf("make a transaction id: %w", err)
	}
	return id, nil
}

// clientID is made of the MAC address (RFC 2132 section 9.14): a guest without a
// disk has no other name of its own that outlives it.
func clientID(link netlink.Link) dhcpv4.Option {
	const ethernet = 1 // hardware type of RFC 1700
	return dhcpv4.OptClientIdentifier(append([]byte{ethernet}, link.Attrs().HardwareAddr...))
}

// asking says who asks and for what; it replaces what the libraries put there
// for network boot.
func (c dhcpClient) asking(link netlink.Link) []dhcpv4.Modifier {
	ms := []dhcpv4.Modifier{
		dhcpv4.WithHwAddr(link.Attrs().HardwareAddr),
		dhcpv4.WithOption(dhcpv4.OptClassIdentifier("arcinit")),
		dhcpv4.WithOption(clientID(link)),
		dhcpv4.WithOption(dhcpv4.OptParameterRequestList(
			// RFC 3442 wants 121 before 3.
			dhcpv4.OptionSubnetMask,
			dhcpv4.OptionClasslessStaticRoute,
			dhcpv4.OptionRouter,
			dhcpv4.OptionDomainNameServer,
			dhcpv4.OptionHostName,
			dhcpv4.OptionDomainName,
			dhcpv4.OptionDNSDomainSearchList,
			dhcpv4.OptionInterfaceMTU,
			dhcpv4.OptionIPAddressLeaseTime,
			dhcpv4.OptionServerIdentifier,
			dhcpv4.OptionRenewTimeValue,
			dhcpv4.OptionRebindingTimeValue,
		)),
	}
	if c.hostname != "" {
		ms = append(ms, dhcpv4.WithOption(dhcpv4.OptHostName(c.hostname)))
	}
	return ms
}
