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

// worker looks after one NIC for as long as its link is there. With a lease that
// is: link up, lease acquired, lease kept; and again when the lease is lost.
type worker struct {
	Assignment
	d     *daemon
	index int
	log   *slog.Logger
	wake  chan struct{} // has one where one of these has changed:
	// wasDown says that the link has been down, be it for a moment that is
	// over by the time the worker looks; clockSet that the wall clock was set.
	wasDown, clockSet atomic.Bool
	wasUp             bool // the link, by the last message about it
	cancel            context.CancelFunc
	done              chan struct{} // closed when the worker has ended

	mtu       int          // of the link without a lease, in bytes
	wasBridge bool         // in the last Run
	wasSetUp  bool         // the link, by this worker
	last      netip.Prefix // was leased before, and is asked for again
	current   lease        // the one that the NIC is configured with
	obtained  time.Time    // when that came, before the NIC was configured: the clock may be set meanwhile
	counter   counter
	dhcp      exchanger // whose messages the counter counts
	refused   said      // in leases
	failure   said
}

// linkChanged tells the worker of its link, as the kernel's messages have it one
// after the other: when they come, the worker may have seen the link up already,
// so that one of before does not mean that it went down. It does not wait.
func (w *worker) linkChanged(link netlink.Link) {
	up := isUp(link)
	if w.wasUp && !up {
		w.wasDown.Store(true)
	}
	w.wasUp = up
	signal(w.wake)
}

func (w *worker) run(ctx context.Context) {
	defer w.cancel()
	// Before the link is up, so that the first question is answered.
	if w.Role == RoleBridge || w.wasBridge {
		w.failed(setProxyARP(w.d.cfg.Proc, w.Name, w.Role == RoleBridge))
	}
	if w.Role == RolePrimary && w.d.cfg.IPv6Router {
		w.failed(setAcceptRA(w.d.cfg.Proc, w.Name))
	}
	switch w.Role {
	case RoleOff:
		w.keepOff(ctx)
	case RoleStatic:
		w.keepStatic(ctx)
	default:
		w.keepLease(ctx)
	}
}

// silent is the number of tries after which it is worth saying that no server
// answers.
const silent = 3

// keepLease gets a lease and keeps it, for ever.
func (w *worker) keepLease(ctx context.Context) {
	for {
		ack, err := w.acquire(ctx)
		if err != nil {
			return // ctx has ended
		}
		err = w.hold(ctx, ack)
		if ctx.Err() != nil {
			if errors.Is(context.Cause(ctx), ErrRelease) {
				w.release(ack)
			}
			return
		}
		w.failure = said{} // what was said of this lease may be said of the next
		w.unconfigure()
		w.report(func(n *NIC) { n.Error = err.Error() })
		w.failed(err)
	}
}

// acquire tries to get a lease until there is one that the NIC is configured
// with, or ctx ends.
func (w *worker) acquire(ctx context.Context) (*dhcpv4.DHCPv4, error) {
	began := w.d.cfg.Now()
	var id dhcpv4.TransactionID
	for n := 0; ; n++ {
		// A try that fails at once must not be followed by the next at once.
		pause := w.d.cfg.After(tryTime(n))
		var err error
		if n == 0 {
			id, err = newTransactionID()
		}
		if err == nil {
			var ack *dhcpv4.DHCPv4
			if ack, err = w.try(ctx, n == 0, discovery{id: id, taken: w.d.cfg.Now().Sub(began), wait: tryTime(n)}); err == nil {
				return ack, nil
			}
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		w.report(func(n *NIC) { n.Error = err.Error() })
		switch {
		case errors.Is(err, errInUse):
			w.failed(err)
			pause = w.d.cfg.After(afterDecline)
		case !errors.Is(err, nclient4.ErrNoResponse):
			w.failed(err)
		case n+1 == silent:
			w.log.Warn("no DHCP server answers; asking on")
		}
		select {
		case <-pause:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// try brings the link up and asks for a lease: in the first try for the one that
// there was before, if there was one. It configures the NIC with what it gets.
func (w *worker) try(ctx context.Context, isFirst bool, d discovery) (*dhcpv4.DHCPv4, error) {
	link, err := w.bringUp(ctx)
	if err != nil {
		return nil, err
	}
	w.wasDown.Store(false)
	if isFirst && w.last.IsValid() {
		ack, err := w.dhcp.request(ctx, link, request{address: w.last.Addr(), wait: d.wait})
		if err == nil {
			return ack, w.use(ctx, link, ack)
		}
		if errors.Is(err, errNAK) {
			// An earlier Run may have left it on the link.
			w.failed(removeAddress(link, w.last))
			w.last = netip.Prefix{}
		}
	}
	d.wanted = w.last.Addr()
	ack, err := w.dhcp.discover(ctx, link, d)
	if err != nil {
		return nil, err
	}
	return ack, w.use(ctx, link, ack)
}

// errInUse is a lease of an address that another host has.
var errInUse = errors.New("another host has the leased address")

// afterDecline is how long a client waits before it asks anew (RFC 2131 section
// 3.1, point 5).
const afterDecline = 10 * time.Second

// use configures the NIC with a new lease, if nobody else has the address.
func (w *worker) use(ctx context.Context, link netlink.Link, ack *dhcpv4.DHCPv4) error {
	if w.d.cfg.ProbeAddress {
		address, _ := netip.AddrFromSlice(ack.YourIPAddr.To4())
		switch mac, err := w.probe(ctx, link, address); {
		case err != nil:
			w.failed(err) // the lease is good without
		case mac != nil:
			w.last = netip.Prefix{}
			return errors.Join(fmt.Errorf("%w: %s has %s", errInUse, mac, address), w.dhcp.decline(link, ack))
		}
	}
	return w.configure(link, ack)
}

// bringUp sets the link up, once, and waits until it is: whoever takes it down
// later means it.
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
				w.report(func(n *NIC) { n.State = StateDiscovering })
			}
			return link, nil
		case link.Attrs().Flags&net.FlagUp == 0 && !w.wasSetUp:
			if err := netlink.LinkSetUp(link); err != nil {
				return nil, fmt.Errorf("set the link up: %w", err)
			}
			w.wasSetUp = true
			continue
		}
		waited = true
		w.report(func(n *NIC) { n.State = StateNoCarrier })
		select {
		case <-w.wake:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// isUp reports whether link can carry packets: it is set up, has a carrier, and
// waits for nobody (Documentation/networking/operstates.rst). IF_OPER_UP says the
// same, but the kernel gets round to that later.
func isUp(link netlink.Link) bool {
	const upAndDormant = unix.IFF_UP | unix.IFF_LOWER_UP | unix.IFF_DORMANT
	return link.Attrs().RawFlags&upAndDormant == unix.IFF_UP|unix.IFF_LOWER_UP
}

// errExpired ends a lease that could not be renewed in its time.
var errExpired = errors.New("the lease expired")

// hold keeps the lease that ack granted: it asks for more of it in time, and
// whether it still holds when the link comes back or the clock has jumped. It
// returns why the lease is lost.
func (w *worker) hold(ctx context.Context, ack *dhcpv4.DHCPv4) error {
	clock := w.d.cfg
	next := w.current.renew
	var skew time.Duration // since the lease was obtained, as last seen
	for {
		var due <-chan time.Time // never, for a lease without end
		if w.current.time > 0 {
			due = clock.After(next - age(w.obtained, clock.Now()))
		}
		asking := request{address: w.current.address.Addr(), wait: shortTry}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-due:
			// RFC 2131 section 4.4.5: the server first, then any.
			asking.renewing = true
			if age(w.obtained, clock.Now()) < w.current.rebind {
				asking.server = w.current.server
			}
		case <-w.wake:
			before := skew
			skew = wallSkew(w.obtained, clock.Now())
			jumped := w.clockSet.Swap(false) && (skew-before).Abs() >= jump
			link, err := netlink.LinkByIndex(w.index)
			if err != nil || !isUp(link) {
				w.report(func(n *NIC) { n.State = StateNoCarrier })
				continue
			}
			wasDown := w.wasDown.Swap(false)
			if wasDown {
				w.report(func(n *NIC) { n.State = StateBound })
				// The kernel dropped them when the link went down, and the
				// lease is good without the server's word (RFC 2131 section 3.2).
				w.failed(setRoutes(link, w.current.address, w.current.routes))
			}
			if !wasDown && !jumped {
				continue
			}
		}
		// After a pause of the whole guest the lease may be over, and still be
		// granted again.
		expired := w.current.time > 0 && age(w.obtained, clock.Now()) >= w.current.time
		if expired && asking.renewing {
			return errExpired
		}
		renewed, err := w.renew(ctx, asking)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err == nil {
			*ack = *renewed
			next, skew = w.current.renew, 0
			continue
		}
		if errors.Is(err, errNAK) {
			return err
		}
		if expired {
			return errExpired
		}
		w.log.Debug("lease not renewed", "err", err)
		passed := age(w.obtained, clock.Now())
		next = w.current.again(passed)
		w.report(func(n *NIC) {
			n.Error = err.Error()
			if w.current.time == 0 {
				return
			}
			switch {
			case passed >= w.current.rebind:
				n.State = StateRebinding
			case passed >= w.current.renew:
				n.State = StateRenewing
			}
		})
	}
}

// jump is by how much the wall clock has to be set for it to be worth a question.
const jump = time.Second

// wallSkew is how much more time has passed by the wall clock than really.
func wallSkew(since, now time.Time) time.Duration {
	return now.Round(0).Sub(since.Round(0)) - now.Sub(since)
}

// renew asks for the lease once more and configures the NIC again.
func (w *worker) renew(ctx context.Context, r request) (*dhcpv4.DHCPv4, error) {
	link, err := netlink.LinkByIndex(w.index)
	if err != nil {
		return nil, fmt.Errorf("look at the link: %w", err)
	}
	ack, err := w.dhcp.request(ctx, link, r)
	if err != nil {
		return nil, err
	}
	return ack, w.configure(link, ack)
}

// release gives a lease back. The address stays: the message may still wait for
// the server's MAC address.
func (w *worker) release(ack *dhcpv4.DHCPv4) {
	link, err := netlink.LinkByIndex(w.index)
	if err == nil {
		err = w.dhcp.release(link, ack)
	}
	w.failed(err)
}

// configure gives the NIC what ack grants, as far as its role allows. Without
// the address it has failed; an MTU or routes that cannot be had are logged.
func (w *worker) configure(link netlink.Link, ack *dhcpv4.DHCPv4) error {
	obtained := w.d.cfg.Now()
	l, refused, err := parseLease(ack)
	if err != nil {
		return err
	}
	if !l.server.IsValid() {
		l.server = w.current.server // as some servers leave it out when they renew
	}
	if news := w.refused.news(refused...); len(news) > 0 {
		w.log.Warn("parts of the lease were refused", "server", l.server, "refused", strings.Join(news, "; "))
	}
	l.limit(w.Role)
	previous := w.current.address
	if !previous.IsValid() {
		previous = w.last
	}
	if err := setAddress(link, l.address, l.time, previous); err != nil {
		return err
	}
	isNew := w.current.address != l.address
	w.current, w.last, w.obtained = l, l.address, obtained
	err = errors.Join(setMTU(link, l.mtu), setRoutes(link, l.address, l.routes))
	w.failed(err)
	if isNew {
		w.log.Info("NIC configured", "address", l.address, "routes", len(l.routes), "lease", l.time, "server", l.server)
	}
	w.report(func(n *NIC) {
		n.setLease(l, obtained)
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

// unconfigure takes away what a lost lease had given.
func (w *worker) unconfigure() {
	lost := w.current.address
	w.current, w.last = lease{}, netip.Prefix{}
	w.reset(StateDiscovering)
	link, err := netlink.LinkByIndex(w.index)
	if err == nil {
		err = errors.Join(setRoutes(link, lost, nil), removeAddress(link, lost), setMTU(link, w.mtu))
	}
	w.failed(err)
}

// keepStatic gives the NIC the host's address, and again when somebody has taken
// the link down and up.
func (w *worker) keepStatic(ctx context.Context) {
	for ctx.Err() == nil {
		link, err := w.bringUp(ctx)
		if err == nil {
			err = errors.Join(setAddress(link, w.Address, 0, w.last), setRoutes(link, w.Address, nil))
		}
		if ctx.Err() != nil {
			return
		}
		w.failed(err)
		w.report(func(n *NIC) {
			isNew := n.State != StateStatic
			n.State, n.Error = StateStatic, ""
			if err != nil {
				n.Error = err.Error()
				return
			}
			n.Addresses = []netip.Prefix{w.Address}
			n.MTU = link.Attrs().MTU
			if isNew {
				n.ConfiguredNS = sinceBoot()
			}
		})
		w.waitDown(ctx)
	}
}

// keepOff takes the link down, with what an earlier lease has left on it.
func (w *worker) keepOff(ctx context.Context) {
	w.reset(StateOff)
	link, err := netlink.LinkByIndex(w.index)
	if err == nil && w.last.IsValid() {
		err = removeAddress(link, w.last)
	}
	if err == nil {
		err = netlink.LinkSetDown(link)
	}
	w.failed(err)
	<-ctx.Done()
}

// waitDown waits until the link has been down.
func (w *worker) waitDown(ctx context.Context) {
	for !w.wasDown.Swap(false) {
		select {
		case <-w.wake:
		case <-ctx.Done():
			return
		}
	}
}

// failed logs err, unless it is nil or has been logged.
func (w *worker) failed(err error) {
	if err != nil && len(w.failure.news(err.Error())) > 0 {
		w.log.Warn("NIC", "err", err)
	}
}

// report changes the worker's part of the report.
func (w *worker) report(change func(*NIC)) {
	w.d.updateReport(func(r *Report) {
		if n := r.nic(w.Name); n != nil {
			n.Messages = w.counter.read()
			change(n)
		}
	})
}

// reset takes all that is known of a lease out of the report.
func (w *worker) reset(s State) {
	w.report(func(n *NIC) {
		*n = NIC{Role: n.Role, Name: n.Name, MAC: n.MAC, Messages: n.Messages, State: s}
	})
}

// setLease notes a lease that took effect at the time obtained.
func (n *NIC) setLease(l lease, obtained time.Time) {
	n.State, n.Error = StateBound, ""
	n.Addresses = []netip.Prefix{l.address}
	n.Gateway, n.Routes, n.Server = l.gateway(), l.routes, l.server
	n.DNS, n.Domain, n.Search, n.Hostname = l.dns, l.domain, l.search, l.hostname
	n.Obtained, n.LeaseSeconds = obtained, int64(l.time/time.Second)
	n.Renews, n.Rebinds, n.Expires = time.Time{}, time.Time{}, time.Time{}
	if l.time > 0 {
		n.Renews, n.Rebinds, n.Expires = obtained.Add(l.renew), obtained.Add(l.rebind), obtained.Add(l.time)
	}
}

// sinceBoot is the time since the kernel started, in nanoseconds.
func sinceBoot() int64 {
	var ts unix.Timespec
	// It cannot fail: the clock is there since Linux 2.6.39.
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts)
	return ts.Nano()
}
