package netd

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/arcinit/arcinit/internal/kernelfile"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// setSysctls sets the NIC's kernel parameters (Documentation/networking/ip-sysctl.rst). Any goroutine may call it.
func (w *worker) setSysctls() error {
	if w.Role == RoleOff {
		return nil
	}
	// With 2 the guest keeps its own IPv6 router although it forwards IPv6, as it does with Docker.
	err := w.setIPv6("accept_ra", "2")
	if w.Role != RolePrimary {
		err = errors.Join(err, w.setIPv6("accept_ra_defrtr", "0"))
	}
	if w.Role == RoleBridge {
		// The NIC answers ARP for the containers, and at once: by default the kernel delays proxied answers by up to 0.8 s.
		err = errors.Join(err, setSysctl("net/ipv4/conf/"+w.Name+"/proxy_arp", "1"),
			setSysctl("net/ipv4/neigh/"+w.Name+"/proxy_delay", "0"))
	}
	return err
}

// setIPv6 sets one of the NIC's parameters of IPv6, unless the NIC or the kernel is without IPv6.
func (w *worker) setIPv6(key, value string) error {
	if err := setSysctl("net/ipv6/conf/"+w.Name+"/"+key, value); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func setSysctl(key, value string) error {
	if err := kernelfile.Write("/proc/sys/"+key, value+"\n"); err != nil {
		return fmt.Errorf("set %s to %s: %w", key, value, err)
	}
	return nil
}

// kernel is rtnetlink, over one socket: opening a socket takes longer than most requests. The zero Handle opens one for each request.
type kernel struct{ *netlink.Handle }

// setMTU sets link's MTU, in bytes, even if link has it already, because link may be out of date. 0 leaves the MTU alone.
func (k kernel) setMTU(link netlink.Link, mtu int) error {
	if mtu == 0 {
		return nil
	}
	if err := k.LinkSetMTU(link, mtu); err != nil {
		return fmt.Errorf("set MTU %d: %w", mtu, err)
	}
	link.Attrs().MTU = mtu
	return nil
}

// addresses lists the IPv4 addresses of link.
func (k kernel) addresses(link netlink.Link) ([]netlink.Addr, error) {
	return whole("addresses", func() ([]netlink.Addr, error) { return k.AddrList(link, netlink.FAMILY_V4) })
}

// routes lists the IPv4 routes of the main table.
func (k kernel) routes() ([]netlink.Route, error) {
	table := &netlink.Route{Table: unix.RT_TABLE_MAIN}
	return whole("routes", func() ([]netlink.Route, error) {
		return k.RouteListFiltered(netlink.FAMILY_V4, table, netlink.RT_FILTER_TABLE)
	})
}

// maxLists is how often to list something that keeps changing.
const maxLists = 10

// whole lists again if the list changed meanwhile, so that entries may be missing (NLM_F_DUMP_INTR,
// Documentation/userspace-api/netlink/intro.rst). The last try counts even so: at worst, the NIC keeps an old address or route.
func whole[T any](what string, list func() ([]T, error)) (all []T, err error) {
	for range maxLists {
		if all, err = list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil, fmt.Errorf("list %s: %w", what, err)
	}
	return all, nil
}

// setAddress gives link the address own for a lifetime, 0 being for ever. It removes the address previous and all other addresses with a
// lifetime, which earlier leases left. Other addresses without a lifetime belong to other programs and stay.
func (k kernel) setAddress(link netlink.Link, own netip.Prefix, lifetime time.Duration, previous netip.Prefix) error {
	have, err := k.addresses(link)
	if err != nil {
		return err
	}
	var errs []error
	for _, a := range have {
		p := prefix(a.IPNet)
		leased := a.Flags&unix.IFA_F_PERMANENT == 0
		// Remove old addresses first: with the first address of a subnet the kernel removes the subnet's other addresses.
		if p != own && (leased || p == previous || p.Addr() == own.Addr()) {
			errs = append(errs, k.removeAddress(link, p))
		}
	}
	seconds := int((lifetime + time.Second - 1) / time.Second)
	a := &netlink.Addr{IPNet: ipNet(own), ValidLft: seconds, PreferedLft: seconds}
	if err := k.AddrReplace(link, a); err != nil {
		errs = append(errs, fmt.Errorf("set address %s: %w", own, err))
	}
	return errors.Join(errs...)
}

// removeAddress removes p from link. It is no error if p is gone already: the kernel removes an address at the end of its lifetime.
func (k kernel) removeAddress(link netlink.Link, p netip.Prefix) error {
	err := k.AddrDel(link, &netlink.Addr{IPNet: ipNet(p)})
	if err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
		return fmt.Errorf("remove address %s: %w", p, err)
	}
	return nil
}

// setRoutes makes want the only DHCP routes on link, whose own address is own. It reports whether it changed any route. Other programs'
// routes stay, but for a route that a wanted one replaces because it has the same destination and metric.
func (k kernel) setRoutes(link netlink.Link, own netip.Prefix, want []Route) (changed bool, err error) {
	have, err := k.routes()
	if err != nil {
		return false, err
	}
	index := link.Attrs().Index
	var errs []error
	var wanted []netlink.Route
	for _, r := range want {
		if r.Dst == own.Masked() && !r.Gateway.IsValid() {
			continue // the kernel adds the connected route
		}
		if n := netOfLink(have, index, r.Dst); n.IsValid() {
			errs = append(errs, fmt.Errorf("route to %s via %s: %s is the network of a link", r.Dst, r.Gateway, n))
			continue
		}
		w := dhcpRoute(index, own, r)
		wanted = append(wanted, w)
		if slices.ContainsFunc(have, w.Equal) {
			continue
		}
		changed = true
		if err := k.RouteReplace(&w); err != nil {
			errs = append(errs, fmt.Errorf("set route to %s via %s: %w", r.Dst, r.Gateway, err))
		}
	}
	for _, h := range have {
		if h.LinkIndex != index || h.Protocol != unix.RTPROT_DHCP || slices.ContainsFunc(wanted, h.Equal) {
			continue
		}
		changed = true
		// RouteReplace may have removed the route already.
		if err := k.RouteDel(&h); err != nil && !errors.Is(err, unix.ESRCH) {
			errs = append(errs, fmt.Errorf("remove route to %s via %s: %w", h.Dst, h.Gw, err))
		}
	}
	return changed, errors.Join(errs...)
}

// netOfLink returns the connected network that forbids a lease on link index to route dst: another link's network that
// contains dst, or the link's own network, whose route the new one would replace. It is invalid if there is none.
func netOfLink(have []netlink.Route, index int, dst netip.Prefix) netip.Prefix {
	for _, h := range have {
		n := prefix(h.Dst)
		if h.Protocol == unix.RTPROT_KERNEL && h.Scope == netlink.SCOPE_LINK && (n == dst ||
			h.LinkIndex != index && n.Bits() <= dst.Bits() && n.Contains(dst.Addr())) {
			return n
		}
	}
	return netip.Prefix{}
}

// dhcpRoute converts r for the kernel. A gateway outside our subnet counts as on the link, as leases of a single address need.
func dhcpRoute(index int, own netip.Prefix, r Route) netlink.Route {
	w := netlink.Route{
		LinkIndex: index, Dst: ipNet(r.Dst), Gw: r.Gateway.AsSlice(),
		Table: unix.RT_TABLE_MAIN, Type: unix.RTN_UNICAST, Protocol: unix.RTPROT_DHCP,
	}
	switch {
	case !r.Gateway.IsValid():
		w.Scope = netlink.SCOPE_LINK
	case !own.Contains(r.Gateway):
		w.Flags = int(netlink.FLAG_ONLINK)
	}
	return w
}

// ipNet converts p and keeps its host part.
func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), 32)}
}

// prefix is the inverse of ipNet. Nil is 0.0.0.0/0, as in a default route.
func prefix(n *net.IPNet) netip.Prefix {
	if n == nil {
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	addr, _ := netip.AddrFromSlice(n.IP.To4())
	bits, _ := n.Mask.Size()
	return netip.PrefixFrom(addr, bits)
}
