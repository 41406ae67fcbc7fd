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

// keepLease gets a lease and keeps it, again and again until ctx ends.
func (w *worker) keepLease(ctx context.Context) {
	for {
		ack, err := w.acquire(ctx)
		switch {
		case err != nil && ctx.Err() != nil:
			return
		case errors.Is(err, errLinkDown):
			continue // ask at once when the link is up again
		case err != nil:
			w.report(func(n *NIC) { n.Error = err.Error() })
			w.failed(err)
			// An error may come at once: do not spin.
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
		w.failure = nil // log the same failures again for the next lease
		w.unconfigure()
		w.report(func(n *NIC) { n.Error = err.Error() })
		w.failed(err)
	}
}

// silent is the number of tries without an answer after which acquire logs that.
const silent = 3

// acquire brings the link up and configures the NIC with a lease. It tries until the
// link goes down or ctx ends.
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
			w.log.Warn("no DHCP server has answered; still trying", "tries", silent)
		}
		if err := w.stayUp(ctx, pause); err != nil {
			return nil, err
		}
	}
}

// try gets a lease and configures the NIC with it. The first try asks for the previous
// lease, if there was one.
func (w *worker) try(ctx context.Context, link netlink.Link, isFirst bool, d discovery) (*dhcpv4.DHCPv4, error) {
	if isFirst && w.last.IsValid() {
		ack, err := w.dhcp.request(ctx, link, request{address: w.last.Addr(), wait: d.wait})
		if err == nil {
			return ack, w.use(ctx, link, ack)
		}
		if errors.Is(err, errNAK) {
			// An earlier Run may have left the address on the link.
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

// errInUse is the error for a leased address that another host has.
var errInUse = errors.New("another host has the leased address")

// afterDecline is how long a client waits before it starts over (RFC 2131 section
// 3.1, point 5).
const afterDecline = 10 * time.Second

// use configures the NIC with a new lease, unless another host has the address.
func (w *worker) use(ctx context.Context, link netlink.Link, ack *dhcpv4.DHCPv4) error {
	if w.d.cfg.ProbeAddress {
		address, _ := netip.AddrFromSlice(ack.YourIPAddr.To4())
		switch mac, err := w.probe(ctx, link, address); {
		case ctx.Err() != nil:
			return ctx.Err() // the address may not be free
		case err != nil:
			w.failed(err) // use the lease without a probe
		case mac != nil:
			w.last = netip.Prefix{}
			inUse := fmt.Errorf("%w: %s has %s", errInUse, mac, address)
			if err := w.dhcp.decline(link, ack); err != nil {
				return errors.Join(inUse, fmt.Errorf("decline %s: %w", address, err))
			}
			return inUse
		}
	}
	return w.configure(link, ack)
}
