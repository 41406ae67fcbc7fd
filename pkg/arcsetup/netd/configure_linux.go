package netd

import (
	"errors"
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
	if news := w.refused.news(refused...); len(news) > 0 {
		w.log.Warn("parts of the lease were refused", "server", l.server, "refused", strings.Join(news, "; "))
	}
	l.limit(w.Role)
	previous := w.current.address
	if !previous.IsValid() {
		previous = w.last
	}
	if err := setAddress(link, l.address, l.time, previous); err != nil {
		return err
	}
	isNew := w.current.address != l.address
	w.current, w.last, w.obtained = l, l.address, obtained
	err = errors.Join(setMTU(link, l.mtu), setRoutes(link, l.address, l.routes))
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
	link, err := netlink.LinkByIndex(w.index)
	if err == nil {
		err = errors.Join(setRoutes(link, lost, nil), removeAddress(link, lost), setMTU(link, w.mtu))
	}
	w.failed(err)
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
