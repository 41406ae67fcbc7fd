package netd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// worker looks after one NIC for as long as its link is there. With a lease that
// is: link up, lease acquired, lease kept; and again when the lease is lost.
type worker struct {
	assignment
	d     *daemon
	index int
	log   *slog.Logger
	wake  chan struct{} // has one where one of these has changed:
	// wasDown says that the link has been down, be it for a moment that is
	// over by the time the worker looks; clockSet that the wall clock was set;
	// disturbed that somebody may have changed what the worker configured.
	wasDown, clockSet, disturbed atomic.Bool
	link                         lastLink // by the last message about it
	wasUp                        bool     // that link
	cancel                       context.CancelFunc
	done                         chan struct{} // closed when the worker has ended

	mtu       int           // of the link without a lease, in bytes
	wasBridge bool          // in the last Run
	wasSetUp  bool          // the link, by this worker
	last      netip.Prefix  // was leased before, and is asked for again
	current   lease         // the one that the NIC is configured with
	obtained  time.Time     // when that came, before the NIC was configured: the clock may be set meanwhile
	skew      time.Duration // of the wall clock since then, as last seen
	mended    time.Time     // when what was disturbed was put right last
	counter   counter
	dhcp      exchanger // whose messages the counter counts
	refused   seen      // in leases
	failure   seen
}

// linkChanged tells the worker of its link, as the kernel's messages have it one
// after the other: when they come, the worker may have seen the link up already,
// so that one of before does not mean that it went down. It does not wait.
func (w *worker) linkChanged(link netlink.Link) {
	w.link.set(link)
	up := isUp(link)
	if w.wasUp && !up {
		w.wasDown.Store(true)
	}
	w.wasUp = up
	signal(w.wake)
}

// disturb tells the worker that somebody may have changed what it configured. It
// does not wait.
func (w *worker) disturb() {
	w.disturbed.Store(true)
	signal(w.wake)
}

func (w *worker) run(ctx context.Context) {
	defer w.cancel()
	w.failed(w.setSysctls()) // before the link is up
	switch w.Role {
	case RoleOff:
		w.keepOff(ctx)
	case RoleStatic:
		w.keepStatic(ctx)
	default:
		w.keepLease(ctx)
	}
}

// lastLink is a link as the kernel's last message has it.
type lastLink struct {
	attrs atomic.Pointer[netlink.LinkAttrs]
}

func (l *lastLink) set(link netlink.Link) { l.attrs.Store(link.Attrs()) }

// get returns a copy, for the caller to change.
func (l *lastLink) get() netlink.Link { return &netlink.Device{LinkAttrs: *l.attrs.Load()} }

// bringUp sets the link up, once, and waits until it is: whoever takes it down
// later means it.
func (w *worker) bringUp(ctx context.Context) (netlink.Link, error) {
	waited := false
	for {
		w.wasDown.Store(false)
		link := w.link.get()
		switch {
		case isUp(link):
			w.wasSetUp = true // before this worker, perhaps
			if waited {
				w.report(func(n *NIC) { n.State = StateDiscovering })
			}
			return link, nil
		case link.Attrs().Flags&net.FlagUp == 0 && !w.wasSetUp:
			if err := w.d.kernel.LinkSetUp(link); err != nil {
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

// errLinkDown ends what the link's going down has made pointless.
var errLinkDown = errors.New("the link went down")

// stayUp waits for until. That the link has been down ends it earlier.
func (w *worker) stayUp(ctx context.Context, until <-chan time.Time) error {
	for !w.wasDown.Load() {
		select {
		case <-w.wake:
		case <-until:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return errLinkDown
}

// whileUp runs f with a context that ends when the link goes down.
func (w *worker) whileUp(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	watched := make(chan struct{})
	w.d.spawn("watch of "+w.Name, func() {
		defer close(watched)
		if w.stayUp(ctx, nil) == errLinkDown {
			cancel()
		}
	})
	err := f(ctx)
	cancel()
	<-watched
	signal(w.wake) // whoever waits next hears what the watch has heard
	if err != nil && w.wasDown.Load() {
		return errLinkDown
	}
	return err
}

// mendPause is the least time from putting right what somebody has changed to
// doing so again: two programs that do not agree must not keep the guest busy.
const mendPause = time.Second

// mendAt returns when what was disturbed is to be put right, nil being never;
// pending is what it last returned, unless that has come.
func (w *worker) mendAt(pending <-chan time.Time) <-chan time.Time {
	if !w.disturbed.Swap(false) || pending != nil {
		return pending
	}
	now := w.d.cfg.Now()
	wait := max(w.mended.Add(mendPause).Sub(now), 0)
	w.mended = now.Add(wait)
	return w.d.cfg.After(wait)
}

// keepStatic gives the NIC the host's address, and again when somebody has taken
// that away, or the link down and up.
func (w *worker) keepStatic(ctx context.Context) {
	for ctx.Err() == nil {
		link, err := w.bringUp(ctx)
		if err == nil {
			err = w.d.kernel.setAddress(link, w.Address, 0, w.last)
			_, errRoutes := w.d.kernel.setRoutes(link, w.Address, nil)
			err = errors.Join(err, errRoutes)
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
		w.undisturbed(ctx)
	}
}

// undisturbed waits until what was configured may have to be put right.
func (w *worker) undisturbed(ctx context.Context) {
	var mend <-chan time.Time
	for !w.wasDown.Load() {
		select {
		case <-w.wake:
			mend = w.mendAt(mend)
		case <-mend:
			return
		case <-ctx.Done():
			return
		}
	}
}

// keepOff takes the link down, with what an earlier lease has left on it.
func (w *worker) keepOff(ctx context.Context) {
	w.reset(StateOff)
	link, err := w.d.kernel.LinkByIndex(w.index)
	if err == nil && w.last.IsValid() {
		err = w.d.kernel.removeAddress(link, w.last)
	}
	if err == nil {
		err = w.d.kernel.LinkSetDown(link)
	}
	w.failed(err)
	<-ctx.Done()
}

// failed logs err, unless it is nil or has been logged.
func (w *worker) failed(err error) {
	if err != nil && len(w.failure.unseen(err.Error())) > 0 {
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
