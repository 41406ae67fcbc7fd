package netd

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// configure gives the NIC what ack grants, as far as its role allows. Without
// the address it has failed; an MTU or routes that cannot be had are logged.
func (w *worker) configure(link netlink.Link, ack *dhcpv4.DHCPv4) error {
	obtained := w.d.cfg.Now()
	l, refused, err := parseLease(ack)
	if err != nil {
		return err
	}
	if !l.server.IsValid() {
		l.server = w.current.server // as some servers leave it out when they renew
	}
	if news := w.refused.unseen(refused...); len(news) > 0 {
		w.log.Warn("parts of the lease were refused", "server", l.server, "refused", strings.Join(news, "; "))
	}
	l.limit(w.Role)
	previous := w.current.address
	if !previous.IsValid() {
		previous = w.last
	}
	if err := w.d.kernel.setAddress(link, l.address, l.time, previous); err != nil {
		return err
	}
	isNew := w.current.address != l.address
	w.current, w.last, w.obtained, w.skew = l, l.address, obtained, 0
	_, err = w.d.kernel.setRoutes(link, l.address, l.routes)
	err = errors.Join(w.d.kernel.setMTU(link, l.mtu), err)
	w.failed(err)
	if isNew {
		w.log.Info("NIC configured", "address", l.address, "routes", len(l.routes), "lease", l.time, "server", l.server)
	}
	w.report(func(n *NIC) {
		n.setLease(l, obtained)
		n.MTU = link.Attrs().MTU
		if err != nil {
			n.Error = err.Error()
		}
		if isNew {
			n.ConfiguredNS = sinceBoot()
		}
	})
	return nil
}

// unconfigure takes away what a lost lease had given.
func (w *worker) unconfigure() {
	lost := w.current.address
	w.current, w.last = lease{}, netip.Prefix{}
	w.reset(StateDiscovering)
	link, err := w.d.kernel.LinkByIndex(w.index)
	if err == nil {
		_, err = w.d.kernel.setRoutes(link, lost, nil)
		err = errors.Join(err, w.d.kernel.removeAddress(link, lost), w.d.kernel.setMTU(link, w.mtu))
	}
	w.failed(err)
}

// mend gives the NIC what it lacks of the lease, takes away rivals of its default
// route, and reports which of the two was to be put right.
func (w *worker) mend(link netlink.Link) (address, routes bool) {
	has, err := w.d.kernel.hasAddress(link, w.current.address)
	if err == nil && !has {
		left := w.current.time
		if left > 0 {
			if left -= age(w.obtained, w.d.cfg.Now()); left < time.Second {
				return false, false // it goes anyway
			}
		}
		address = true
		err = w.d.kernel.setAddress(link, w.current.address, left, netip.Prefix{})
	}
	routes, errRoutes := w.d.kernel.setRoutes(link, w.current.address, w.current.routes)
	w.failed(errors.Join(err, errRoutes))
	return address, routes
}

// undoDisturbance puts right what somebody may have changed. While the link is
// down there is no need: that is done when it returns.
func (w *worker) undoDisturbance() {
	link, err := w.d.kernel.LinkByIndex(w.index)
	if err != nil || !isUp(link) {
		return
	}
	address, routes := w.mend(link)
	if address {
		w.failed(fmt.Errorf("somebody took the address %s away; it is back", w.current.address))
	}
	if routes {
		w.failed(errors.New("somebody changed the routes; they are as before"))
	}
}

// setLease notes a lease that took effect at the time obtained.
func (n *NIC) setLease(l lease, obtained time.Time) {
	n.State, n.Error = StateBound, ""
	n.Addresses = []netip.Prefix{l.address}
	n.Gateway, n.Routes, n.Server = l.gateway(), l.routes, l.server
	n.DNS, n.Domain, n.Search, n.Hostname = l.dns, l.domain, l.search, l.hostname
	n.Obtained, n.LeaseSeconds = obtained, int64(l.time/time.Second)
	n.Renews, n.Rebinds, n.Expires = time.Time{}, time.Time{}, time.Time{}
	if l.time > 0 {
		n.Renews, n.Rebinds, n.Expires = obtained.Add(l.renew), obtained.Add(l.rebind), obtained.Add(l.time)
	}
}

// sinceBoot is the time since the kernel started, in nanoseconds.
func sinceBoot() int64 {
	var ts unix.Timespec
	// It cannot fail: the clock is there since Linux 2.6.39.
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts)
	return ts.Nano()
}
