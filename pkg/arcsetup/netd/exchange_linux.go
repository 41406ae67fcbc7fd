package netd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"github.com/u-root/u-root/pkg/dhclient"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// retransmit is how long the first message of an exchange waits for its answer;
// each repetition waits twice as long as the one before.
const retransmit = 2 * time.Second

// maxRepeats makes an exchange of one minute: 2+4+8+16+32 seconds.
const maxRepeats = 5

// exchanger talks DHCP on a link that is up. Both calls return the server's ACK.
type exchanger interface {
	// acquire gets a new lease. Each message is sent up to repeats times.
	acquire(ctx context.Context, link netlink.Link, repeats int) (*dhcpv4.DHCPv4, error)
	// renew extends the lease that ack granted; the error is errNAK if the
	// server takes it away.
	renew(ctx context.Context, link netlink.Link, ack *dhcpv4.DHCPv4) (*dhcpv4.DHCPv4, error)
}

// errNAK is a server's refusal to renew a lease.
var errNAK = errors.New("the server took the lease back (DHCPNAK)")

// dhcpClient is the exchanger on real links.
type dhcpClient struct {
	hostname string
}

func (c dhcpClient) acquire(ctx context.Context, link netlink.Link, repeats int) (*dhcpv4.DHCPv4, error) {
	name := link.Attrs().Name
	// The library makes transaction ids with GRND_NONBLOCK and spins while the
	// kernel has no entropy yet. A blocking read makes the kernel gather some.
	if _, err := unix.Getrandom(make([]byte, 1), 0); err != nil && !errors.Is(err, unix.EINTR) {
		return nil, fmt.Errorf("wait for entropy: %w", err)
	}
	results := dhclient.SendRequests(ctx, []netlink.Link{link}, true, false, dhclient.Config{
		Timeout:    retransmit,
		Retries:    repeats,
		Modifiers4: c.modifiers(link),
	}, time.Second)
	result, ok := <-results
	if !ok {
		return nil, fmt.Errorf("get a lease on %s: the link is not up", name)
	}
	if result.Err != nil {
		return nil, fmt.Errorf("get a lease on %s: %w", name, result.Err)
	}
	ack, _ := result.Lease.Message()
	return ack, nil
}

func (c dhcpClient) renew(ctx context.Context, link netlink.Link, ack *dhcpv4.DHCPv4) (*dhcpv4.DHCPv4, error) {
	name := link.Attrs().Name
	client, err := nclient4.New(name, nclient4.WithTimeout(retransmit), nclient4.WithRetry(1))
	if err != nil {
		return nil, fmt.Errorf("renew the lease on %s: %w", name, err)
	}
	defer client.Close() //nolint:errcheck // what it had to say has been said
	l, err := client.Renew(ctx, &nclient4.Lease{Offer: ack, ACK: ack}, c.modifiers(link)...)
	if nak := (*nclient4.ErrNak)(nil); errors.As(err, &nak) {
		return nil, errNAK
	}
	if err != nil {
		return nil, fmt.Errorf("renew the lease on %s: %w", name, err)
	}
	return l.ACK, nil
}

// modifiers say who asks and for what; they replace what the libraries put
// there for network boot.
func (c dhcpClient) modifiers(link netlink.Link) []dhcpv4.Modifier {
	const ethernet = 1 // hardware type of RFC 1700, first byte of a client id (RFC 2132 section 9.14)
	ms := []dhcpv4.Modifier{
		dhcpv4.WithOption(dhcpv4.OptClassIdentifier("arcinit")),
		dhcpv4.WithOption(dhcpv4.OptClientIdentifier(append([]byte{ethernet}, link.Attrs().HardwareAddr...))),
		dhcpv4.WithOption(dhcpv4.OptParameterRequestList(
			// RFC 3442 wants 121 before 3.
			dhcpv4.OptionSubnetMask,
			dhcpv4.OptionClasslessStaticRoute,
			dhcpv4.OptionRouter,
			dhcpv4.OptionDomainNameServer,
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
