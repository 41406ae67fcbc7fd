package netd

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
)

// keepLease gets a lease and keeps it, again and again until the worker has to end.
func (w *worker) keepLease() {
	for {
		link := w.acquire()
		if link == nil {
			return
		}
		err := w.hold(link)
		if w.ctx.Err() != nil {
			break
		}
		w.failure = nil // log the same failures again for the next lease
		w.unconfigure()
		w.failed(err)
	}
	// The address stays, because the message may still be queued until the server's MAC address is resolved.
	if errors.Is(context.Cause(w.ctx), ErrRelease) {
		if err := w.d.client.tell(w.link.Load(), dhcpv4.MessageTypeRelease, w.ack); err != nil {
			w.failed(fmt.Errorf("release %s: %w", w.current.address, err))
		}
	}
}

// silent is the number of tries without an answer after which acquire logs that.
const silent = 3

// acquire brings the link up and configures the NIC with a lease. It returns the link as it was then, or
// nil if the worker has to end. If the link goes down, acquire starts over.
func (w *worker) acquire() *linkState {
	for link := w.bringUp(); link != nil; link = w.bringUp() {
		w.report(func(n *NIC) { n.State = StateDiscovering })
		began, id, conflicts := w.d.cfg.Now(), newTransactionID(), 0
		for n := 0; link.up.Err() == nil; n++ {
			wait := randomly(tryTime(n))
			end := w.d.cfg.After(wait)
			err := w.try(link, n == 0, discovery{id: id, taken: w.d.cfg.Now().Sub(began), wait: wait})
			if err == nil {
				return link
			}
			err = fmt.Errorf("get a lease: %w", err)
			switch {
			case link.up.Err() != nil:
				continue
			case errors.Is(err, nclient4.ErrNoResponse):
				w.report(func(n *NIC) { n.Error = err.Error() })
				if n+1 == silent && w.failure.isNew("silence") {
					w.log.Warn("no DHCP server has answered; still trying", "tries", silent)
				}
			default:
				w.failed(err)
			}
			if errors.Is(err, errInUse) {
				conflicts++
				end = w.d.cfg.After(afterConflict(conflicts))
			}
			pause(link.up, end)
		}
	}
	return nil
}

// try gets a lease and configures the NIC with it. The first try asks for the previous lease, if there was one.
func (w *worker) try(link *linkState, isFirst bool, d discovery) error {
	if isFirst && w.last.IsValid() {
		g, err := w.d.client.request(link.up, link, request{address: w.last.Addr(), wait: d.wait})
		if err == nil {
			return w.use(link, g)
		}
		if errors.Is(err, errNAK) {
			// An earlier Run may have left the address on the link.
			w.failed(w.d.kernel.removeAddress(link, w.last))
			w.last = netip.Prefix{}
		}
	}
	d.wanted = w.last.Addr()
	g, err := w.d.client.discover(link.up, link, d)
	if err != nil {
		return err
	}
	return w.use(link, g)
}

// errInUse is the error for a leased address that another host has.
var errInUse = errors.New("another host has the leased address")

// afterConflict returns how long to wait before the next address is tried (RFC 2131 section 3.1 point 5, and from the tenth conflict on RFC 5227
// section 2.1.1).
func afterConflict(conflicts int) time.Duration {
	if conflicts < 10 {
		return 10 * time.Second
	}
	return time.Minute
}

// use configures the NIC with a new lease, unless another host has the address.
func (w *worker) use(link *linkState, g grant) error {
	if w.d.cfg.ProbeAddress {
		address, _ := netip.AddrFromSlice(g.YourIPAddr.To4())
		switch mac, err := w.probe(link, address); {
		case link.up.Err() != nil:
			return context.Cause(link.up) // the address may not be free
		case err != nil:
			w.failed(err) // use the lease without a probe
		case mac != nil:
			w.last = netip.Prefix{}
			return errors.Join(fmt.Errorf("%w: %s has %s", errInUse, mac, address),
				w.d.client.tell(link, dhcpv4.MessageTypeDecline, g.DHCPv4))
		}
	}
	return w.configure(link, g)
}

// errExpired ends a lease that was not renewed in time.
var errExpired = errors.New("the lease expired")

// hold keeps the current lease. It renews the lease in time, and verifies it when the link comes back or
// the wall clock jumped. Link is the link when the lease came. hold returns why the lease is lost.
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
		r := request{address: w.current.address.Addr(), wait: randomly(shortTry)} // verifies the lease
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
			// jumped only counts with clockSet: the clock may be set before its event comes.
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
			// The kernel dropped the routes with the link. The lease holds even if no server answers (RFC 2131 section 3.2).
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
		// After a pause of the whole guest the lease may be over, and the server may still grant it again.
		left := w.current.time - age(w.obtained, clock.Now())
		expired := w.current.time > 0 && left <= 0
		switch {
		case expired && r.ack != nil:
			return errExpired
		case left > 0: // neither T2 nor the end waits for an answer that is late
			if r.server.IsValid() {
				left -= w.current.time - w.current.rebind
			}
			r.wait = min(r.wait, left)
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
		if r.server.IsValid() {
			next = min(next, w.current.rebind)
		}
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
	g, err := w.d.client.request(link.up, link, r)
	if err != nil {
		return fmt.Errorf("renew the lease of %s: %w", r.address, err)
	}
	if r.ack != nil {
		complete(g.DHCPv4, r.ack)
	}
	return w.configure(link, g)
}

// complete adds to the ACK of a renewal the options that the lease had before and the ACK leaves out: some servers only send the times. The
// times all come from one message, and so do the routes.
func complete(ack, previous *dhcpv4.DHCPv4) {
	options := maps.Clone(previous.Options)
	for _, group := range [][]dhcpv4.OptionCode{
		{dhcpv4.OptionIPAddressLeaseTime, dhcpv4.OptionRenewTimeValue, dhcpv4.OptionRebindingTimeValue},
		{dhcpv4.OptionClasslessStaticRoute, microsoftRoutes, dhcpv4.OptionRouter},
	} {
		if slices.ContainsFunc(group, ack.Options.Has) {
			for _, code := range group {
				options.Del(code)
			}
		}
	}
	maps.Copy(options, ack.Options)
	ack.Options = options
}
