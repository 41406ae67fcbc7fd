package netd

import (
	"errors"
	"net/netip"
	"strings"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/u-root/u-root/pkg/dhclient"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// configure gives the NIC what ack grants and the role allows. Only an address that
// cannot be set is an error. It logs problems with the MTU or routes.
func (w *worker) configure(link netlink.Link, ack *dhcpv4.DHCPv4) error {
	obtained := w.d.cfg.Now()
	l, invalid, err := parseLease(dhclient.NewPacket4(link, ack))
	if err != nil {
		return err
	}
	if !l.server.IsValid() {
		l.server = w.current.server // some servers leave it out when they renew
	}
	if unseen := w.refused.unseen(invalid...); len(unseen) > 0 {
		w.log.Warn("ignored invalid parts of the lease", "server", l.server, "ignored", strings.Join(unseen, "; "))
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

// unconfigure removes the configuration of a lost lease.
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

// mend restores what the NIC lacks of the lease. It reports whether the address or the
// routes had to be restored.
func (w *worker) mend(link netlink.Link) (address, routes bool) {
	has, err := w.d.kernel.hasAddress(link, w.current.address)
	if err == nil && !has {
		left := w.current.time
		if left > 0 {
			if left -= age(w.obtained, w.d.cfg.Now()); left < time.Second {
				return false, false // the address expires anyway
			}
		}
		address = true
		err = w.d.kernel.setAddress(link, w.current.address, left, netip.Prefix{})
	}
	routes, errRoutes := w.d.kernel.setRoutes(link, w.current.address, w.current.routes)
	w.failed(errors.Join(err, errRoutes))
	return address, routes
}

// undoDisturbance restores the address and routes if somebody changed them. If the
// link is down, isInDoubt does so when the link is up again.
func (w *worker) undoDisturbance() {
	link, err := w.d.kernel.LinkByIndex(w.index)
	if err != nil || !isUp(link) {
		return
	}
	address, routes := w.mend(link)
	if address && len(w.failure.unseen("address "+w.current.address.String())) > 0 {
		w.log.Warn("restored the address, which somebody removed", "address", w.current.address)
	}
	if routes && len(w.failure.unseen("routes")) > 0 {
		w.log.Warn("restored the routes, which somebody changed", "routes", len(w.current.routes))
	}
}

// setLease puts a lease into the report. Its times count from obtained.
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

// sinceBoot returns the time since the kernel started, in nanoseconds.
func sinceBoot() int64 {
	var ts unix.Timespec
	// It cannot fail: Linux has this clock since 2.6.39.
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts)
	return ts.Nano()
}
