package netd

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"github.com/vishvananda/netlink"
)

// keepLease gets a lease and keeps it, for ever.
func (w *worker) keepLease(ctx context.Context) {
	for {
		ack, err := w.acquire(ctx)
		switch {
		case err != nil && ctx.Err() != nil:
			return
		case errors.Is(err, errLinkDown):
			continue // and ask at once when it is up again
		case err != nil:
			w.report(func(n *NIC) { n.Error = err.Error() })
			w.failed(err)
			// What fails at once must not be tried again at once.
			_ = w.stayUp(ctx, w.d.cfg.After(shortTry))
			continue
		}
		err = w.hold(ctx, ack)
		if ctx.Err() != nil {
			if errors.Is(context.Cause(ctx), ErrRelease) {
				w.release(ack)
			}
			return
		}
		w.failure = nil // what was said of this lease may be said of the next
		w.unconfigure()
		w.report(func(n *NIC) { n.Error = err.Error() })
		w.failed(err)
	}
}

// silent is the number of tries after which it is worth saying that no server
// answers.
const silent = 3

// acquire brings the link up, and tries to get a lease until there is one that the
// NIC is configured with, the link goes down, or ctx ends.
func (w *worker) acquire(ctx context.Context) (*dhcpv4.DHCPv4, error) {
	link, err := w.bringUp(ctx)
	if err != nil {
		return nil, err
	}
	id, err := newTransactionID()
	if err != nil {
		return nil, err
	}
	began := w.d.cfg.Now()
	for n := 0; ; n++ {
		pause := w.d.cfg.After(tryTime(n))
		d := discovery{id: id, taken: w.d.cfg.Now().Sub(began), wait: tryTime(n)}
		var ack *dhcpv4.DHCPv4
		err := w.whileUp(ctx, func(ctx context.Context) (err error) {
			ack, err = w.try(ctx, link, n == 0, d)
			return err
		})
		switch {
		case err == nil:
			return ack, nil
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case errors.Is(err, errLinkDown):
			return nil, err
		}
		w.report(func(n *NIC) { n.Error = err.Error() })
		switch {
		case errors.Is(err, errInUse):
			w.failed(err)
			pause = w.d.cfg.After(afterDecline)
		case !errors.Is(err, nclient4.ErrNoResponse):
			w.failed(err)
		case n+1 == silent && len(w.failure.unseen("silence")) > 0:
			w.log.Warn("no DHCP server answers; asking on")
		}
		if err := w.stayUp(ctx, pause); err != nil {
			return nil, err
		}
	}
}

// try asks for a lease: in the first try for the one that there was before, if
// there was one. It configures the NIC with what it gets.
func (w *worker) try(ctx context.Context, link netlink.Link, isFirst bool, d discovery) (*dhcpv4.DHCPv4, error) {
	if isFirst && w.last.IsValid() {
		ack, err := w.dhcp.request(ctx, link, request{address: w.last.Addr(), wait: d.wait})
		if err == nil {
			return ack, w.use(ctx, link, ack)
		}
		if errors.Is(err, errNAK) {
			// An earlier Run may have left it on the link.
			w.failed(w.d.kernel.removeAddress(link, w.last))
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
		case ctx.Err() != nil:
			return ctx.Err() // nobody knows whether it is free
		case err != nil:
			w.failed(err) // the lease is good without
		case mac != nil:
			w.last = netip.Prefix{}
			return errors.Join(fmt.Errorf("%w: %s has %s", errInUse, mac, address), w.dhcp.decline(link, ack))
		}
	}
	return w.configure(link, ack)
}
