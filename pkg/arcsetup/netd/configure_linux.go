package netd

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/u-root/u-root/pkg/dhclient"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// configure gives the NIC what g grants and the role allows. Only an address that
// cannot be set is an error. It logs problems with the MTU or routes.
func (w *worker) configure(link *linkState, g grant) error {
	l, invalid, err := parseLease(dhclient.NewPacket4(link, g.DHCPv4))
	if err != nil {
		return err
	}
	invalid = slices.DeleteFunc(invalid, func(part string) bool { return !w.refused.isNew(part) })
	if len(invalid) > 0 {
		w.log.Warn("ignored invalid parts of the lease", "server", l.server, "ignored", strings.Join(invalid, "; "))
	}
	l.limit(w.Role)
	left := l.time
	if left > 0 {
		if left -= age(g.requested, w.d.cfg.Now()); left <= 0 {
			return errExpired
		}
	}
	if err := w.d.kernel.setAddress(link, l.address, left, w.last); err != nil {
		return err
	}
	isNew := w.current.address != l.address
	w.current, w.ack, w.last, w.obtained, w.skew = l, g.DHCPv4, l.address, g.requested, 0
	_, err = w.d.kernel.setRoutes(link, l.address, l.routes)
	err = errors.Join(w.setMTU(link, l.mtu), err)
	if isNew {
		w.log.Info("NIC configured", "address", l.address, "routes", len(l.routes), "lease", l.time, "server", l.server)
	}
	w.report(func(n *NIC) {
		n.setLease(l, g.requested)
		n.MTU = link.Attrs().MTU
		if isNew {
			n.ConfiguredNS = sinceBoot()
		}
	})
	if isNew {
		w.announce(link, l.address.Addr())
	}
	w.failed(err)
	return nil
}

// unconfigure removes the configuration of a lost lease.
func (w *worker) unconfigure() {
	lost := w.current.address
	w.current, w.last = lease{}, netip.Prefix{}
	w.report(func(n *NIC) { *n = NIC{Role: n.Role, Name: n.Name, MAC: n.MAC, State: StateDiscovering} })
	link := w.link.Load()
	_, err := w.d.kernel.setRoutes(link, lost, nil)
	w.failed(errors.Join(err, w.d.kernel.removeAddress(link, lost), w.setMTU(link, w.mtu)))
}

// minIPv6MTU is the smallest MTU in bytes with which a link can carry IPv6 (RFC 8200 section 5).
const minIPv6MTU = 1280

// setMTU sets the link's MTU, in bytes. With a small one the kernel turns IPv6 off on the link, and with a larger one on again, with the
// parameters of a new link.
func (w *worker) setMTU(link *linkState, mtu int) error {
	before := link.MTU
	if err := w.d.kernel.setMTU(link, mtu); err != nil || mtu == 0 {
		return err
	}
	switch {
	case mtu < minIPv6MTU && before >= minIPv6MTU:
		w.log.Warn("the MTU is too small for IPv6, which is off on this NIC", "mtu", mtu, "least", minIPv6MTU)
	case mtu >= minIPv6MTU && before < minIPv6MTU:
		return w.setSysctls()
	}
	return nil
}

// mend restores the address and routes that the NIC lacks, and logs that once unless
// isExpected. It asks the kernel for the link, and does nothing while the link is down.
func (w *worker) mend(isExpected bool) {
	link, err := w.d.kernel.LinkByIndex(w.index)
	if err != nil || !isUp(link) {
		return
	}
	have, err := w.d.kernel.addresses(link)
	has := slices.ContainsFunc(have, func(a netlink.Addr) bool { return prefix(a.IPNet) == w.current.address })
	if err == nil && !has {
		left := w.current.time
		if left > 0 {
			if left -= age(w.obtained, w.d.cfg.Now()); left < time.Second {
				return // the address expires anyway
			}
		}
		err = w.d.kernel.setAddress(link, w.current.address, left, netip.Prefix{})
	}
	routes, errRoutes := w.d.kernel.setRoutes(link, w.current.address, w.current.routes)
	w.failed(errors.Join(err, errRoutes))
	if isExpected {
		return
	}
	if err == nil && !has && w.failure.isNew("address "+w.current.address.String()) {
		w.log.Warn("restored the address that another program removed", "address", w.current.address)
	}
	if routes && w.failure.isNew("routes") {
		w.log.Warn("restored the routes that another program changed", "routes", len(w.current.routes))
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
