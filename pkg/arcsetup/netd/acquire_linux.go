package netd

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
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
	// The address stays, because the message may still be queued until the server's
	// MAC address is resolved.
	if errors.Is(context.Cause(w.ctx), ErrRelease) {
		if err := w.d.client.tell(w.link.Load(), dhcpv4.MessageTypeRelease, w.ack); err != nil {
			w.failed(fmt.Errorf("release %s: %w", w.current.address, err))
		}
	}
}

// silent is the number of tries without an answer after which acquire logs that.
const silent = 3

// acquire brings the link up and configures the NIC with a lease. It returns the link
// as it was then, or nil if the worker has to end. If the link goes down, acquire
// starts over.
func (w *worker) acquire() *linkState {
	for link := w.bringUp(); link != nil; link = w.bringUp() {
		w.report(func(n *NIC) { n.State = StateDiscovering })
		began, id := w.d.cfg.Now(), newTransactionID()
		for n := 0; link.up.Err() == nil; n++ {
			end := w.d.cfg.After(tryTime(n))
			err := w.try(link, n == 0, discovery{id: id, taken: w.d.cfg.Now().Sub(began), wait: tryTime(n)})
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
				end = w.d.cfg.After(afterDecline)
			}
			pause(link.up, end)
		}
	}
	return nil
}

// try gets a lease and configures the NIC with it. The first try asks for the previous
// lease, if there was one.
func (w *worker) try(link *linkState, isFirst bool, d discovery) error {
	if isFirst && w.last.IsValid() {
		ack, err := w.d.client.request(link.up, link, request{address: w.last.Addr(), wait: d.wait})
		if err == nil {
			return w.use(link, ack)
		}
		if errors.Is(err, errNAK) {
			// An earlier Run may have left the address on the link.
			w.failed(w.d.kernel.removeAddress(link, w.last))
			w.last = netip.Prefix{}
		}
	}
	d.wanted = w.last.Addr()
	ack, err := w.d.client.discover(link.up, link, d)
	if err != nil {
		return err
	}
	return w.use(link, ack)
}

// errInUse is the error for a leased address that another host has.
var errInUse = errors.New("another host has the leased address")

// afterDecline is how long a client waits before it starts over (RFC 2131 section
// 3.1, point 5).
const afterDecline = 10 * time.Second

// use configures the NIC with a new lease, unless another host has the address.
func (w *worker) use(link *linkState, ack *dhcpv4.DHCPv4) error {
	if w.d.cfg.ProbeAddress {
		address, _ := netip.AddrFromSlice(ack.YourIPAddr.To4())
		switch mac, err := w.probe(link, address); {
		case link.up.Err() != nil:
			return context.Cause(link.up) // the address may not be free
		case err != nil:
			w.failed(err) // use the lease without a probe
		case mac != nil:
			w.last = netip.Prefix{}
			return errors.Join(fmt.Errorf("%w: %s has %s", errInUse, mac, address),
				w.d.client.tell(link, dhcpv4.MessageTypeDecline, ack))
		}
	}
	return w.configure(link, ack)
}
