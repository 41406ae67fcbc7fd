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

// worker configures one NIC for as long as its link exists. For most roles it sets
// the link up, acquires a lease and holds it, and starts over when the lease is lost.
type worker struct {
	assignment
	d      *daemon
	index  int
	log    *slog.Logger
	cancel context.CancelFunc
	done   chan struct{} // closed when the worker has ended

	// The daemon's goroutine sets these flags and then fills wake. Each flag stays
	// set until the worker clears it, so that short events are not missed.
	wake      chan struct{}
	wasDown   atomic.Bool // the link was down, perhaps only for a moment
	clockSet  atomic.Bool // the wall clock was set
	disturbed atomic.Bool // another program may have changed the configuration

	link  atomic.Pointer[netlink.LinkAttrs] // from the kernel's last message
	wasUp bool                              // isUp of that link; only for the daemon's goroutine

	mtu      int           // of the link without a lease, in bytes
	wasSetUp bool          // this worker has set the link up, or found it up
	last     netip.Prefix  // the address to ask for first, from an earlier lease
	current  lease         // the lease that the NIC is configured with
	obtained time.Time     // when current came, read before the NIC was configured
	skew     time.Duration // how far the wall clock has jumped since obtained
	mended   time.Time     // the last time, or the next, of restoring the configuration
	counter  counter       // of dhcp's messages
	dhcp     exchanger
	refused  seen // parts of leases
	failure  seen // errors
}

// linkChanged records a link message and does not block. Messages lag behind what the
// worker has already seen, so only an up-to-down transition between two messages
// counts as a loss of link.
func (w *worker) linkChanged(link netlink.Link) {
	w.link.Store(link.Attrs())
	up := isUp(link)
	if w.wasUp && !up {
		w.wasDown.Store(true)
	}
	w.wasUp = up
	signal(w.wake)
}

// disturb tells the worker that another program may have changed the configuration.
// It does not block.
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

// bringUp sets the link up and waits until it is up. It sets the link up only once:
// if somebody sets it down later, it stays down.
func (w *worker) bringUp(ctx context.Context) (netlink.Link, error) {
	waited := false
	for {
		w.wasDown.Store(false)
		link := &netlink.Device{LinkAttrs: *w.link.Load()}
		switch {
		case isUp(link):
			w.wasSetUp = true
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

// isUp reports whether the link can carry packets: administratively up, carrier
// present, not dormant (Documentation/networking/operstates.rst). The kernel updates
// these flags before IF_OPER_UP.
func isUp(link netlink.Link) bool {
	const upAndDormant = unix.IFF_UP | unix.IFF_LOWER_UP | unix.IFF_DORMANT
	return link.Attrs().RawFlags&upAndDormant == unix.IFF_UP|unix.IFF_LOWER_UP
}

// errLinkDown ends exchanges over a link that went down.
var errLinkDown = errors.New("the link went down")

// stayUp waits for until. It returns errLinkDown if the link goes down first.
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
	signal(w.wake) // the watch may have emptied wake
	if err != nil && w.wasDown.Load() {
		return errLinkDown
	}
	return err
}

// mendPause is the least time between two restorations of the configuration, so that
// two programs that disagree do not burn CPU.
const mendPause = time.Second

// mendAt returns a timer for the next restoration, or nil if none is needed. Pending
// is the timer that it returned last, or nil if that timer has fired.
func (w *worker) mendAt(pending <-chan time.Time) <-chan time.Time {
	if !w.disturbed.Swap(false) || pending != nil {
		return pending
	}
	now := w.d.cfg.Now()
	wait := max(w.mended.Add(mendPause).Sub(now), 0)
	w.mended = now.Add(wait)
	return w.d.cfg.After(wait)
}

// keepStatic gives the NIC its configured address, and again when somebody removes the
// address or sets the link down and up.
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

// undisturbed waits until the configuration may have to be restored.
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

// keepOff sets the link down and removes the address of an earlier lease.
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

// failed logs err, unless it is nil or was logged before.
func (w *worker) failed(err error) {
	if err != nil && len(w.failure.unseen(err.Error())) > 0 {
		w.log.Warn("cannot configure the NIC", "err", err)
	}
}

// report changes the NIC's part of the report.
func (w *worker) report(change func(*NIC)) {
	w.d.updateReport(func(r *Report) {
		if n := r.nic(w.Name); n != nil {
			n.Messages = w.counter.read()
			change(n)
		}
	})
}

// reset removes the lease from the report.
func (w *worker) reset(s State) {
	w.report(func(n *NIC) {
		*n = NIC{Role: n.Role, Name: n.Name, MAC: n.MAC, Messages: n.Messages, State: s}
	})
}
