package netd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// worker looks after one NIC for as long as its link is there: link up, lease
// acquired, lease kept; and again when the lease is lost.
type worker struct {
	d     *daemon
	role  Role
	name  string
	index int
	log   *slog.Logger
	wake  chan struct{} // has one where the link changed
	// wasDown says that the link has been down, be it for a moment that is
	// over by the time the worker looks.
	wasDown atomic.Bool
	cancel  context.CancelFunc
	done    chan struct{} // closed when the worker has ended

	current lease  // the one that the NIC is configured with
	refused string // what was last logged as refused in a lease
	failure string // what was last logged as having failed
}

// notify tells the worker that its link changed, to what. It does not wait.
func (w *worker) notify(link netlink.Link) {
	if !isUp(link) {
		w.wasDown.Store(true)
	}
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// shortTries is how many tries send each message once only, so that DISCOVERs are
// retransmit apart at first. Every later try repeats its messages once more than
// the one before, up to maxRepeats.
const shortTries = 3

func (w *worker) run(ctx context.Context) {
	defer w.cancel()
	if w.role == RoleBridge {
		// Before the link is up, so that the first question is answered.
		w.failed(setProxyARP(w.d.cfg.Proc, w.name))
	}
	for try := 1; ctx.Err() == nil; try++ {
		// A try that fails at once must not be followed by the next at once.
		pause := w.d.cfg.After(retransmit)
		ack, err := w.acquire(ctx, min(max(try-shortTries+1, 1), maxRepeats))
		if err == nil {
			try = 0
			err = w.hold(ctx, ack)
			w.unconfigure(ctx)
		}
		if ctx.Err() != nil {
			return
		}
		w.setReport(func(n *NIC) { n.Error = err.Error() })
		switch {
		case !errors.Is(err, nclient4.ErrNoResponse):
			w.failed(err)
		case try == shortTries:
			w.log.Warn("no DHCP server answers; asking on")
		}
		select {
		case <-pause:
		case <-ctx.Done():
		}
	}
}

// acquire brings the link up, gets a lease and configures the NIC with it.
func (w *worker) acquire(ctx context.Context, repeats int) (*dhcpv4.DHCPv4, error) {
	link, err := w.bringUp(ctx)
	if err != nil {
		return nil, err
	}
	w.wasDown.Store(false)
	ack, err := w.d.dhcp.acquire(ctx, link, repeats)
	if err != nil {
		return nil, err
	}
	return ack, w.configure(link, ack)
}

// bringUp sets the link up and waits until it is. The kernel's word for that
// spares dhclient's way of waiting, which is to look ten times a second.
func (w *worker) bringUp(ctx context.Context) (netlink.Link, error) {
	waited := false
	for {
		link, err := netlink.LinkByIndex(w.index)
		if err != nil {
			return nil, fmt.Errorf("look at the link: %w", err)
		}
		switch {
		case isUp(link):
			if waited {
				w.setReport(func(n *NIC) { n.State = StateDiscovering })
			}
			return link, nil
		case link.Attrs().Flags&net.FlagUp == 0:
			if err := netlink.LinkSetUp(link); err != nil {
				return nil, fmt.Errorf("set the link up: %w", err)
			}
			continue
		}
		waited = true
		w.setReport(func(n *NIC) { n.State = StateNoCarrier })
		select {
		case <-w.wake:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// isUp reports whether link can carry packets. Drivers that do not follow the
// state of the link leave it unknown (Documentation/networking/operstates.rst).
func isUp(link netlink.Link) bool {
	a := link.Attrs()
	return a.Flags&net.FlagUp != 0 && (a.OperState == netlink.OperUp || a.OperState == netlink.OperUnknown)
}

// errExpired ends a lease that could not be renewed in its time.
var errExpired = errors.New("the lease expired")

// hold keeps the lease that ack granted: it asks for more of it when half its
// time is over, and when the link comes back. It returns why the lease is lost.
func (w *worker) hold(ctx context.Context, ack *dhcpv4.DHCPv4) error {
	clock := w.d.cfg
	obtained := clock.Now()
	next := w.current.renew
	for {
		var due <-chan time.Time // never, for a lease without end
		if w.current.time > 0 {
			due = clock.After(obtained.Add(next).Sub(clock.Now()))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-due:
		case <-w.wake:
			link, err := netlink.LinkByIndex(w.index)
			if err != nil || !isUp(link) || !w.wasDown.Swap(false) {
				continue
			}
			// The kernel dropped them when the link went down, and the
			// lease is good without the server's word (RFC 2131 section 3.2).
			w.failed(setRoutes(link, w.current.address, w.current.routes))
		}
		if w.current.time > 0 && clock.Now().Sub(obtained) >= w.current.time {
			return errExpired
		}
		renewed, err := w.renew(ctx, ack)
		if errors.Is(err, errNAK) {
			return err
		}
		if err != nil {
			w.log.Debug("renewal failed", "err", err)
			w.setReport(func(n *NIC) { n.Error = err.Error() })
			// RFC 2131 section 4.4.5: again after half of what is left,
			// but leave the server time to answer.
			age := clock.Now().Sub(obtained)
			next = min(age+max((w.current.time-age)/2, 2*retransmit), w.current.time)
			continue
		}
		ack, obtained, next = renewed, clock.Now(), w.current.renew
	}
}

// renew extends the lease that ack granted and configures the NIC again.
func (w *worker) renew(ctx context.Context, ack *dhcpv4.DHCPv4) (*dhcpv4.DHCPv4, error) {
	link, err := netlink.LinkByIndex(w.index)
	if err != nil {
		return nil, fmt.Errorf("look at the link: %w", err)
	}
	renewed, err := w.d.dhcp.renew(ctx, link, ack)
	if err != nil {
		return nil, err
	}
	return renewed, w.configure(link, renewed)
}

// configure gives the NIC what ack grants, as far as its role allows. Without
// the address it has failed; an MTU or routes that cannot be had are logged.
func (w *worker) configure(link netlink.Link, ack *dhcpv4.DHCPv4) error {
	l, refused, err := parseLease(ack)
	if err != nil {
		return err
	}
	if text := strings.Join(refused, "; "); text != w.refused {
		w.refused = text
		if text != "" {
			w.log.Warn("parts of the lease were refused", "server", l.server, "refused", text)
		}
	}
	if w.role == RoleBridge {
		l.routes, l.dns = nil, nil
	}
	if err := setAddress(link, l.address, l.time, w.current.address); err != nil {
		return err
	}
	isNew := w.current.address != l.address
	w.current = l
	err = errors.Join(setMTU(link, l.mtu), setRoutes(link, l.address, l.routes))
	w.failed(err)
	if isNew {
		w.log.Info("NIC configured", "address", l.address, "routes", len(l.routes), "lease", l.time, "server", l.server)
	}
	w.setReport(func(n *NIC) {
		n.setLease(l, w.d.cfg.Now())
		n.MTU = link.Attrs().MTU
		if err != nil {
			n.Error = err.Error()
		}
		if isNew {
			n.ConfiguredNS = sinceBoot()
		}
	})
	return nil
}

// unconfigure takes away what a lost lease had given. Where it is the daemon
// that ends, it stays.
func (w *worker) unconfigure(ctx context.Context) {
	if ctx.Err() != nil {
		return
	}
	lost := w.current.address
	w.current = lease{}
	w.setReport(func(n *NIC) {
		*n = NIC{Role: n.Role, Name: n.Name, MAC: n.MAC, State: StateDiscovering}
	})
	link, err := netlink.LinkByIndex(w.index)
	if err == nil {
		err = errors.Join(setRoutes(link, lost, nil), removeAddress(link, lost))
	}
	w.failed(err)
}

// failed logs err, unless it is nil or what was logged last.
func (w *worker) failed(err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != "" && text != w.failure {
		w.log.Warn("NIC", "err", text)
	}
	w.failure = text
}

// setReport changes the worker's part of the report.
func (w *worker) setReport(change func(*NIC)) {
	w.d.updateReport(func(r *Report) {
		if n := r.nic(w.role); n != nil {
			change(n)
		}
	})
}

// setLease notes a lease that took effect at the time obtained.
func (n *NIC) setLease(l lease, obtained time.Time) {
	n.State, n.Error = StateBound, ""
	n.Addresses = []netip.Prefix{l.address}
	n.Gateway, n.Routes, n.DNS, n.Server = l.gateway(), l.routes, l.dns, l.server
	n.Obtained, n.Expires, n.LeaseSeconds = obtained, time.Time{}, int64(l.time/time.Second)
	if l.time > 0 {
		n.Expires = obtained.Add(l.time)
	}
}

// sinceBoot is the time since the kernel started, in nanoseconds.
func sinceBoot() int64 {
	var ts unix.Timespec
	// It cannot fail: the clock is there since Linux 2.6.39.
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts)
	return ts.Nano()
}
