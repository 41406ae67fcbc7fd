package netd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// errExpired ends a lease that was not renewed in time.
var errExpired = errors.New("the lease expired")

// hold keeps the lease that ack granted, and updates ack. It renews the lease in
// time, and verifies it when the link comes back or the wall clock jumped. It
// returns why the lease is lost.
func (w *worker) hold(ctx context.Context, ack *dhcpv4.DHCPv4) error {
	clock := w.d.cfg
	next := w.current.renew
	var mend <-chan time.Time
	for {
		var due <-chan time.Time // never, for a lease without end
		if w.current.time > 0 {
			due = clock.After(next - age(w.obtained, clock.Now()))
		}
		r := request{address: w.current.address.Addr(), wait: shortTry}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-due:
			if w.jumped() {
				break // the lease may be over by the wall clock alone: verify it
			}
			r.ack = ack
			if age(w.obtained, clock.Now()) < w.current.rebind {
				r.server = w.current.server
			}
		case <-mend:
			mend = nil
			w.undoDisturbance()
			continue
		case <-w.wake:
			mend = w.mendAt(mend)
			if !w.isInDoubt() {
				continue
			}
		}
		// After a pause of the whole guest the lease may be over, and the server
		// may still grant it again.
		expired := w.current.time > 0 && age(w.obtained, clock.Now()) >= w.current.time
		if expired && r.ack != nil {
			return errExpired
		}
		err := w.whileUp(ctx, func(ctx context.Context) error { return w.renew(ctx, r, ack) })
		switch {
		case err == nil:
			next = w.current.renew
			continue
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, errNAK):
			return err
		case expired:
			return errExpired
		}
		w.log.Debug("lease not renewed", "err", err)
		passed := age(w.obtained, clock.Now())
		next = w.current.again(passed)
		w.report(func(n *NIC) {
			n.Error = err.Error()
			switch {
			case w.current.time == 0:
			case passed >= w.current.rebind:
				n.State = StateRebinding
			case passed >= w.current.renew:
				n.State = StateRenewing
			}
		})
	}
}

// isInDoubt reports whether the lease needs to be verified, because the link was down
// or the wall clock jumped.
func (w *worker) isInDoubt() bool {
	// jumped only counts with clockSet: the clock may be set before its event comes.
	wasDown, jumped := w.wasDown.Swap(false), w.clockSet.Swap(false) && w.jumped()
	if !wasDown && !jumped {
		return false
	}
	link, err := w.d.kernel.LinkByIndex(w.index)
	if err != nil || !isUp(link) {
		w.wasDown.Store(true) // verify the lease when the link is up again
		w.report(func(n *NIC) { n.State = StateNoCarrier })
		return false
	}
	if wasDown {
		w.report(func(n *NIC) { n.State = StateBound })
		// The kernel dropped the routes with the link. The lease holds even if
		// no server answers (RFC 2131 section 3.2).
		w.mend(link)
	}
	return true
}

// jump is the smallest change of the wall clock that makes the daemon verify a lease.
const jump = time.Second

// jumped reports whether the wall clock jumped since the last call.
func (w *worker) jumped() bool {
	before := w.skew
	w.skew = wallSkew(w.obtained, w.d.cfg.Now())
	return (w.skew - before).Abs() >= jump
}

// wallSkew returns how much more time passed by the wall clock than by the monotonic
// clock.
func wallSkew(since, now time.Time) time.Duration {
	return now.Round(0).Sub(since.Round(0)) - now.Sub(since)
}

// renew sends r, configures the NIC with the answer, and puts the answer into ack.
func (w *worker) renew(ctx context.Context, r request, ack *dhcpv4.DHCPv4) error {
	link, err := w.d.kernel.LinkByIndex(w.index)
	if err != nil {
		return fmt.Errorf("renew the lease of %s: %w", r.address, err)
	}
	renewed, err := w.dhcp.request(ctx, link, r)
	if err != nil {
		return fmt.Errorf("renew the lease of %s: %w", r.address, err)
	}
	if err := w.configure(link, renewed); err != nil {
		return err
	}
	*ack = *renewed
	return nil
}

// release sends DHCPRELEASE. It leaves the address in place, because the message may
// still be queued until the server's MAC address is resolved.
func (w *worker) release(ack *dhcpv4.DHCPv4) {
	link, err := w.d.kernel.LinkByIndex(w.index)
	if err == nil {
		err = w.dhcp.release(link, ack)
	}
	if err != nil {
		w.failed(fmt.Errorf("release %s: %w", ack.YourIPAddr, err))
	}
}
