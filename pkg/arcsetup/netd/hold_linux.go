package netd

import (
	"errors"
	"fmt"
	"time"
)

// errExpired ends a lease that was not renewed in time.
var errExpired = errors.New("the lease expired")

// hold keeps the current lease. It renews the lease in time, and verifies it when the
// link comes back or the wall clock jumped. Link is the link when the lease came. hold
// returns why the lease is lost.
func (w *worker) hold(link *linkState) error {
	clock := w.d.cfg
	next := w.current.renew
	disturbed := w.disturbed // nil during a mendPause
	var mendable <-chan time.Time
	for {
		var due <-chan time.Time // never, for a lease without end
		if w.current.time > 0 {
			due = clock.After(next - age(w.obtained, clock.Now()))
		}
		r := request{address: w.current.address.Addr(), wait: shortTry} // verifies the lease
		select {
		case <-w.ctx.Done():
			return w.ctx.Err()
		case <-disturbed:
			w.mend(false)
			disturbed, mendable = nil, clock.After(mendPause)
			continue
		case <-mendable:
			disturbed = w.disturbed
			continue
		case <-w.clockSet:
			// jumped only counts with clockSet: the clock may be set before its event
			// comes.
			if !w.jumped() || link.up.Err() != nil {
				continue
			}
		case <-w.linkChanges:
			if link.up.Err() == nil || w.ctx.Err() != nil {
				continue
			}
			if link = w.link.Load(); link.up.Err() != nil {
				w.report(func(n *NIC) { n.State = StateNoCarrier })
				continue
			}
			w.report(func(n *NIC) { n.State = StateBound })
			// The kernel dropped the routes with the link. The lease holds even if
			// no server answers (RFC 2131 section 3.2).
			w.mend(true)
		case <-due:
			if w.jumped() {
				break // the lease may be over by the wall clock alone: verify it
			}
			r.ack = w.ack
			if age(w.obtained, clock.Now()) < w.current.rebind {
				r.server = w.current.server
			}
		}
		// After a pause of the whole guest the lease may be over, and the server
		// may still grant it again.
		expired := w.current.time > 0 && age(w.obtained, clock.Now()) >= w.current.time
		if expired && r.ack != nil {
			return errExpired
		}
		err := w.renew(link, r)
		switch {
		case err == nil:
			next = w.current.renew
			continue
		case w.ctx.Err() != nil:
			return w.ctx.Err()
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

// jump is the smallest change of the wall clock that makes the daemon verify a lease.
const jump = time.Second

// jumped reports whether the wall clock jumped since the last call.
func (w *worker) jumped() bool {
	before, now := w.skew, w.d.cfg.Now()
	// How much more time passed by the wall clock than by the monotonic clock.
	w.skew = now.Round(0).Sub(w.obtained.Round(0)) - now.Sub(w.obtained)
	return (w.skew - before).Abs() >= jump
}

// renew sends r and configures the NIC with the answer.
func (w *worker) renew(link *linkState, r request) error {
	ack, err := w.d.client.request(link.up, link, r)
	if err != nil {
		return fmt.Errorf("renew the lease of %s: %w", r.address, err)
	}
	return w.configure(link, ack)
}
