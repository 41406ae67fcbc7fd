package netd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// errExpired ends a lease that could not be renewed in its time.
var errExpired = errors.New("the lease expired")

// hold keeps the lease that ack granted: it asks for more of it in time, and
// whether it still holds when the link comes back or the clock has jumped. It
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
		asking := request{address: w.current.address.Addr(), wait: shortTry}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-due:
			if w.jumped() {
				break // by that clock alone the lease may be over
			}
			// RFC 2131 section 4.4.5: the server first, then any.
			asking.renewing = true
			if age(w.obtained, clock.Now()) < w.current.rebind {
				asking.server = w.current.server
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
		// After a pause of the whole guest the lease may be over, and still be
		// granted again.
		expired := w.current.time > 0 && age(w.obtained, clock.Now()) >= w.current.time
		if expired && asking.renewing {
			return errExpired
		}
		err := w.whileUp(ctx, func(ctx context.Context) error {
			renewed, err := w.renew(ctx, asking)
			if err == nil {
				*ack = *renewed
			}
			return err
		})
		if err == nil {
			next = w.current.renew
			continue
		}
		if ctx.Err() != nil {
			return ctx.Err()
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

// isInDoubt reports whether the link or the wall clock has given reason to ask
// whether the lease still holds.
func (w *worker) isInDoubt() bool {
	// Looked at for no other reason than to ask: the clock may be set already
	// while the word of it is still to come.
	wasDown, jumped := w.wasDown.Swap(false), w.clockSet.Swap(false) && w.jumped()
	if !wasDown && !jumped {
		return false
	}
	link, err := w.d.kernel.LinkByIndex(w.index)
	if err != nil || !isUp(link) {
		w.wasDown.Store(true) // as it will be known when it is up again
		w.report(func(n *NIC) { n.State = StateNoCarrier })
		return false
	}
	if wasDown {
		w.report(func(n *NIC) { n.State = StateBound })
		// The kernel dropped the routes when the link went down, and the lease
		// is good without the server's word (RFC 2131 section 3.2).
		w.mend(link)
	}
	return wasDown || jumped
}

// jump is by how much the wall clock has to be set for it to be worth a question.
const jump = time.Second

// jumped reports whether the wall clock was set since this was asked last.
func (w *worker) jumped() bool {
	before := w.skew
	w.skew = wallSkew(w.obtained, w.d.cfg.Now())
	return (w.skew - before).Abs() >= jump
}

// wallSkew is how much more time has passed by the wall clock than really.
func wallSkew(since, now time.Time) time.Duration {
	return now.Round(0).Sub(since.Round(0)) - now.Sub(since)
}

// renew asks for the lease once more and configures the NIC again.
func (w *worker) renew(ctx context.Context, r request) (*dhcpv4.DHCPv4, error) {
	link, err := w.d.kernel.LinkByIndex(w.index)
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
	link, err := w.d.kernel.LinkByIndex(w.index)
	if err == nil {
		err = w.dhcp.release(link, ack)
	}
	w.failed(err)
}
