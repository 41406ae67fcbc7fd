package netd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/rfc1035label"
)

// lease is what a DHCP server granted, as far as it makes sense.
type lease struct {
	address netip.Prefix // our address, with the length of its subnet's prefix
	server  netip.Addr
	routes  []Route // at most one for each destination
	dns     []netip.Addr
	mtu     int // in bytes; 0 where none was given
	// hostname, domain and search are names as a resolver can use them.
	hostname, domain string
	search           []string
	// time is how long the address may be used; 0 is for ever. renew and
	// rebind are T1 and T2 of RFC 2131 section 4.4.5. All count from the ACK.
	time, renew, rebind time.Duration
}

const (
	// fallbackPrefix is for a lease without a usable mask: that of nearly all
	// networks that hand out leases.
	fallbackPrefix = 24
	// minPrefix is the shortest prefix that a network has had since addresses
	// came in classes (RFC 950); a shorter one would take half the Internet
	// for neighbours.
	minPrefix = 8
	// minMTU in bytes. RFC 2132 section 5.1 allows 68, but a client has to
	// take DHCP messages of 576 bytes (RFC 2131 section 2), or it cannot renew.
	minMTU = 576
	// fallbackTime is for a lease that does not say how long it holds.
	fallbackTime = time.Hour
	// minTime keeps a server that leases for moments from keeping us busy.
	minTime = 10 * time.Second
	// foreverSeconds is a lease without end (RFC 2131 section 3.3).
	foreverSeconds = 0xffffffff
	// maxRoutes and maxServers bound what one lease can make us store.
	maxRoutes  = 64
	maxServers = 8
	maxSearch  = 32
	// maxRefused bounds what one lease can make us log.
	maxRefused = 16
)

// parseLease reads the lease out of an ACK. What does not make sense is left out
// and said in refused; without an address that can be ours there is no lease.
func parseLease(ack *dhcpv4.DHCPv4) (l lease, refused []string, err error) {
	refuse := func(format string, args ...any) {
		if len(refused) < maxRefused {
			refused = append(refused, fmt.Sprintf(format, args...))
		}
	}

	own, ok := netip.AddrFromSlice(ack.YourIPAddr.To4())
	if !ok || !isUnicast(own) {
		return lease{}, nil, fmt.Errorf("lease of address %s: not a host's address", ack.YourIPAddr)
	}
	l.address = netip.PrefixFrom(own, parseMask(ack.Options.Get(dhcpv4.OptionSubnetMask), refuse))

	if servers := parseAddrs(dhcpv4.OptionServerIdentifier, ack.Options, refuse); len(servers) > 0 {
		l.server = servers[0]
	}
	l.dns = parseAddrs(dhcpv4.OptionDomainNameServer, ack.Options, refuse)
	l.dns = l.dns[:min(len(l.dns), maxServers)]

	// RFC 3442: option 121, where it is there, replaces option 3.
	l.routes = checkRoutes(parseRoutes(ack.Options, refuse), own, refuse)
	if len(l.routes) == 0 {
		l.routes = defaultRoute(parseAddrs(dhcpv4.OptionRouter, ack.Options, refuse), own, refuse)
	}

	l.mtu = parseMTU(ack.Options, refuse)
	l.hostname = parseName(dhcpv4.OptionHostName, ack.Options, refuse)
	l.domain = parseName(dhcpv4.OptionDomainName, ack.Options, refuse)
	l.search = parseSearch(ack.Options, refuse)
	l.parseTimes(ack.Options, refuse)
	return l, refused, nil
}

// gateway of the default route; the zero Addr where there is none.
func (l lease) gateway() netip.Addr {
	for _, r := range l.routes {
		if r.Dst.Bits() == 0 {
			return r.Gateway
		}
	}
	return netip.Addr{}
}

// limit takes out of the lease what a NIC of that role does not use.
func (l *lease) limit(r Role) {
	if !r.takesRoutes() {
		l.routes, l.dns, l.domain, l.search = nil, nil, "", nil
	}
	if !r.takesDefault() {
		l.routes = slices.DeleteFunc(l.routes, func(r Route) bool { return r.Dst.Bits() == 0 })
	}
}

// isUnicast reports whether a host can have the address a: not one of the blocks
// 0/8, 127/8 and those from 224/4 on (RFC 6890).
func isUnicast(a netip.Addr) bool {
	first := a.As4()[0]
	return first != 0 && first != 127 && first < 224
}

type refuseFunc func(format string, args ...any)

func parseMask(mask net.IPMask, refuse refuseFunc) (bits int) {
	bits, size := mask.Size() // 0, 0 where the ones do not all come first
	switch {
	case len(mask) != net.IPv4len:
		refuse("subnet mask: %d bytes long; taking /%d", len(mask), fallbackPrefix)
		return fallbackPrefix
	case size == 0 || bits < minPrefix:
		refuse("subnet mask %s: not that of a network; taking /%d", mask, fallbackPrefix)
		return fallbackPrefix
	}
	return bits
}

func parseMTU(opts dhcpv4.Options, refuse refuseFunc) (mtu int) {
	b := opts.Get(dhcpv4.OptionInterfaceMTU)
	switch {
	case b == nil:
		return 0
	case len(b) != 2:
		refuse("MTU: %d bytes long", len(b))
		return 0
	}
	if mtu = int(binary.BigEndian.Uint16(b)); mtu < minMTU {
		refuse("MTU %d: below %d", mtu, minMTU)
		return 0
	}
	return mtu
}

// parseAddrs reads an option that is a list of addresses (RFC 2132).
func parseAddrs(code dhcpv4.OptionCode, opts dhcpv4.Options, refuse refuseFunc) (addrs []netip.Addr) {
	b := opts.Get(code)
	for ; len(b) >= 4; b = b[4:] {
		a := netip.AddrFrom4([4]byte(b))
		if !isUnicast(a) {
			refuse("%s %s: not a host's address", code, a)
			continue
		}
		addrs = append(addrs, a)
	}
	if len(b) > 0 {
		refuse("%s: %d bytes too many", code, len(b))
	}
	return addrs
}

// parseName reads an option that is one domain name as text. Some servers end it
// with a NUL (RFC 2132 section 2 has them not do that).
func parseName(code dhcpv4.OptionCode, opts dhcpv4.Options, refuse refuseFunc) string {
	name := strings.TrimRight(string(opts.Get(code)), "\x00")
	if name == "" {
		return ""
	}
	if !isDomain(name) {
		refuse("%s %.64q: not a domain name", code, name)
		return ""
	}
	return strings.TrimSuffix(name, ".")
}

// parseSearch reads option 119, a list of domain names as in a DNS message (RFC
// 3397).
func parseSearch(opts dhcpv4.Options, refuse refuseFunc) (search []string) {
	b := opts.Get(dhcpv4.OptionDNSDomainSearchList)
	if b == nil {
		return nil
	}
	labels, err := rfc1035label.FromBytes(b)
	if err != nil {
		refuse("search list: %v", err)
		return nil
	}
	for _, name := range labels.Labels {
		switch {
		case !isDomain(name):
			refuse("search list: %.64q: not a domain name", name)
		case len(search) == maxSearch:
			refuse("search list: more than %d names", maxSearch)
			return search
		default:
			search = append(search, strings.TrimSuffix(name, "."))
		}
	}
	return search
}

// isDomain reports whether name is a domain name as DNS has them (RFC 1035
// section 2.3.4 for the lengths), of letters, digits, hyphens and underscores:
// others have a meaning to resolvers, terminals or shells.
func isDomain(name string) bool {
	name = strings.TrimSuffix(name, ".")
	if len(name) > 253 {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || strings.Trim(label, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != "" {
			return false
		}
	}
	return true
}

func defaultRoute(routers []netip.Addr, own netip.Addr, refuse refuseFunc) []Route {
	for _, gw := range routers {
		if gw != own {
			return []Route{{Dst: netip.PrefixFrom(netip.IPv4Unspecified(), 0), Gateway: gw}}
		}
		refuse("router %s: is our own address", gw)
	}
	return nil
}

// parseRoutes reads option 121 (RFC 3442): for each route the length of the
// prefix in bits, as many bytes of the destination as that needs, and the
// gateway. After an error nothing in it can be trusted.
func parseRoutes(opts dhcpv4.Options, refuse refuseFunc) (routes []Route) {
	b := opts.Get(dhcpv4.OptionClasslessStaticRoute)
	for len(b) > 0 {
		bits := int(b[0])
		n := 1 + (bits+7)/8
		if bits > 32 || len(b) < n+4 {
			refuse("classless routes: malformed, none taken")
			return nil
		}
		var dst [4]byte
		copy(dst[:], b[1:n])
		r := Route{Dst: netip.PrefixFrom(netip.AddrFrom4(dst), bits).Masked()}
		if gw := netip.AddrFrom4([4]byte(b[n:])); !gw.IsUnspecified() {
			r.Gateway = gw
		}
		routes = append(routes, r)
		b = b[n+4:]
	}
	return routes
}

// checkRoutes returns those of routes that can be used. The first one for a
// destination counts.
func checkRoutes(routes []Route, own netip.Addr, refuse refuseFunc) (usable []Route) {
	for i, r := range routes {
		switch {
		case len(usable) == maxRoutes:
			refuse("classless routes: %d too many", len(routes)-i)
			return usable
		case r.Dst.Bits() != 0 && !isUnicast(r.Dst.Addr()) && r.Dst.Addr() != netip.IPv4Unspecified():
			refuse("route to %s: not a network of hosts", r.Dst)
		case r.Gateway == own:
			refuse("route to %s via %s: is our own address", r.Dst, r.Gateway)
		case r.Gateway.IsValid() && !isUnicast(r.Gateway):
			refuse("route to %s via %s: not a host's address", r.Dst, r.Gateway)
		case slices.ContainsFunc(usable, func(u Route) bool { return u.Dst == r.Dst }):
			refuse("route to %s via %s: one is there already", r.Dst, r.Gateway)
		default:
			usable = append(usable, r)
		}
	}
	return usable
}

// parseTimes reads options 51, 58 and 59, with the defaults of RFC 2131 section
// 4.4.5 for T1 and T2.
func (l *lease) parseTimes(opts dhcpv4.Options, refuse refuseFunc) {
	total, err := parseSeconds(opts.Get(dhcpv4.OptionIPAddressLeaseTime))
	if err != nil || total == 0 {
		refuse("lease time: none; taking %s", fallbackTime)
		total = fallbackTime
	}
	if total == foreverSeconds*time.Second {
		return
	}
	l.time = max(total, minTime)
	if l.time != total {
		refuse("lease time %s: taking %s", total, l.time)
	}
	l.renew, l.rebind = l.time/2, l.time/8*7
	t1, err1 := parseSeconds(opts.Get(dhcpv4.OptionRenewTimeValue))
	t2, err2 := parseSeconds(opts.Get(dhcpv4.OptionRebindingTimeValue))
	if err1 != nil && err2 != nil {
		return
	}
	if err1 != nil || err2 != nil || t1 < minTime/2 || t2 <= t1 || l.time <= t2 {
		refuse("renewal and rebinding after %s and %s: taking %s and %s", t1, t2, l.renew, l.rebind)
		return
	}
	l.renew, l.rebind = t1, t2
}

var errNotSeconds = errors.New("not a 32-bit number")

func parseSeconds(b []byte) (time.Duration, error) {
	if len(b) != 4 {
		return 0, errNotSeconds
	}
	return time.Duration(binary.BigEndian.Uint32(b)) * time.Second, nil
}
