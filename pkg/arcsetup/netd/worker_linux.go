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

	"github.com/insomniacslk/dhcp/dhcpv4"
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
	ctx    context.Context // ends with the worker's NIC
	cancel context.CancelFunc
	done   chan struct{} // closed when the worker has ended
	nic    NIC           // the worker's part of the report; d.mu guards it

	link atomic.Pointer[linkState]
	// The daemon's goroutine fills these channels, which have room for one signal. A
	// signal stays until the worker takes it, so that short events are not missed.
	linkChanges chan struct{}
	clockSet    chan struct{} // the wall clock was set
	disturbed   chan struct{} // another program may have changed the configuration

	mtu      int            // of the link without a lease, in bytes
	wasSetUp bool           // this worker has set the link up, or found it up
	last     netip.Prefix   // the address to ask for first, from an earlier lease
	current  lease          // the lease that the NIC is configured with
	ack      *dhcpv4.DHCPv4 // the message that granted current
	obtained time.Time      // when the REQUEST for current was sent: its times count from then
	skew     time.Duration  // how far the wall clock has jumped since obtained
	refused  seen           // parts of leases
	failure  seen           // errors
}

// linkState is the link as the kernel's last message describes it.
type linkState struct {
	netlink.Device
	// up ends when the link goes down, with the cause errLinkDown.
	up   context.Context
	lost context.CancelCauseFunc // ends up
}

// errLinkDown ends exchanges over a link that went down.
var errLinkDown = errors.New("the link went down")

// linkChanged records a link message and does not block. Messages lag behind what the worker has already
// seen, so only an up-to-down transition between two messages counts as a loss of link.
func (w *worker) linkChanged(link netlink.Link) {
	before := w.link.Load()
	state := &linkState{netlink.Device{LinkAttrs: *link.Attrs()}, before.up, before.lost}
	if !isUp(link) {
		state.lost(errLinkDown)
	} else if state.up.Err() != nil {
		state.up, state.lost = context.WithCancelCause(w.ctx)
	}
	w.link.Store(state)
	signal(w.linkChanges)
}

func (w *worker) run() {
	defer w.cancel()
	switch w.Role {
	case RoleOff:
		w.keepOff()
	case RoleStatic:
		w.keepStatic()
	default:
		w.keepLease()
	}
}

// bringUp sets the link up and returns it when it is up, or nil when the worker has to
// end. It sets the link up only once: if somebody sets it down later, it stays down.
func (w *worker) bringUp() *linkState {
	for w.ctx.Err() == nil {
		link := w.link.Load()
		if link.up.Err() == nil {
			w.wasSetUp = true
			return link
		}
		var again <-chan time.Time
		if !w.wasSetUp && link.Flags&net.FlagUp == 0 {
			if err := w.d.kernel.LinkSetUp(link); err != nil {
				w.failed(fmt.Errorf("set the link up: %w", err))
				again = w.d.cfg.After(shortTry)
			}
			w.wasSetUp = again == nil
		}
		w.report(func(n *NIC) { n.State = StateNoCarrier })
		select {
		case <-w.linkChanges:
		case <-again:
		case <-w.ctx.Done():
		}
	}
	return nil
}

// isUp reports whether the link can carry packets: administratively up, carrier present,
// not dormant. The kernel updates these flags before IF_OPER_UP (operstates.rst).
func isUp(link netlink.Link) bool {
	const upAndDormant = unix.IFF_UP | unix.IFF_LOWER_UP | unix.IFF_DORMANT
	return link.Attrs().RawFlags&upAndDormant == unix.IFF_UP|unix.IFF_LOWER_UP
}

// mendPause is the least time between two restorations of the configuration, so that two programs that disagree do not burn CPU.
const mendPause = time.Second

// keepStatic gives the NIC its configured address, and again when somebody removes the address or sets the link down and up.
func (w *worker) keepStatic() {
	for link := w.bringUp(); link != nil; link = w.bringUp() {
		err := w.d.kernel.setAddress(link, w.Address, 0, w.last)
		_, errRoutes := w.d.kernel.setRoutes(link, w.Address, nil)
		isNew := err == nil && !w.has(w.Address.Addr())
		w.report(func(n *NIC) {
			n.State, n.Error, n.MTU = StateStatic, "", link.MTU
			if isNew {
				n.Addresses, n.ConfiguredNS = []netip.Prefix{w.Address}, sinceBoot()
			}
		})
		if isNew {
			w.announce(link, w.Address.Addr())
		}
		err = errors.Join(err, errRoutes)
		w.failed(err)
		if pause(link.up, w.d.cfg.After(mendPause)) && err == nil {
			pause(link.up, w.disturbed)
		}
	}
}

// pause waits for end, and reports whether it came before ctx ended.
func pause[T any](ctx context.Context, end <-chan T) bool {
	select {
	case <-end:
		return true
	case <-ctx.Done():
		return false
	}
}

// keepOff sets the link down and removes the address of an earlier lease.
func (w *worker) keepOff() {
	w.report(func(n *NIC) { n.State = StateOff })
	for w.ctx.Err() == nil {
		link := w.link.Load()
		err := w.d.kernel.LinkSetDown(link)
		if w.last.IsValid() {
			err = errors.Join(err, w.d.kernel.removeAddress(link, w.last))
		}
		if err == nil {
			w.report(func(n *NIC) { n.Error = "" })
			return
		}
		w.failed(err)
		pause(w.ctx, w.d.cfg.After(shortTry))
	}
}

// failed puts err into the report, and logs it unless it was logged before. Nil is no failure.
func (w *worker) failed(err error) {
	if err == nil {
		return
	}
	w.report(func(n *NIC) { n.Error = err.Error() })
	if w.failure.isNew(err.Error()) {
		w.log.Warn("cannot configure the NIC", "err", err)
	}
}

// report changes the NIC's part of the report.
func (w *worker) report(change func(*NIC)) {
	w.d.mu.Lock()
	change(&w.nic)
	w.d.mu.Unlock()
	signal(w.d.changed)
}

// maxSeen bounds how many texts are remembered and logged, should a hostile network keep inventing new ones.
const maxSeen = 64

// seen is a set of texts that have been logged, so that each is logged once.
type seen map[string]bool

// isNew reports whether text is not in s, and adds it.
func (s *seen) isNew(text string) bool {
	if (*s)[text] || len(*s) == maxSeen {
		return false
	}
	if *s == nil {
		*s = make(seen)
	}
	(*s)[text] = true
	return true
}
