package netd

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/u-root/u-root/pkg/dhclient"
)

const (
	fallbackPrefix = 24 // without a valid mask
	// minMTU in bytes. RFC 2132 section 5.1 allows 68, but a client must accept DHCP messages of 576 bytes (RFC 2131 section 2), or it cannot renew.
	minMTU       = 576
	fallbackTime = time.Hour                // without a lease time
	forever      = 0xffffffff * time.Second // RFC 2131 section 3.3
	// maxRoutes, maxServers and maxSearch bound what one lease can make us store, maxInvalid what it can make us log.
	maxRoutes  = 64
	maxServers = 8
	maxSearch  = 32
	maxInvalid = 16
)

// microsoftRoutes is what Microsoft's servers called option 121 before it had a number. It has the same format.
const microsoftRoutes = dhcpv4.GenericOptionCode(249)

// parser reads a lease. dhclient and dhcpv4 decode the options; the parser checks what they decoded. It ignores invalid parts, and lists them.
type parser struct {
	*dhcpv4.DHCPv4
	invalid []string
}

// ignore lists an invalid part.
func (p *parser) ignore(format string, args ...any) {
	if len(p.invalid) < maxInvalid {
		p.invalid = append(p.invalid, fmt.Sprintf(format, args...))
	}
}

// malformed lists an option that is there although its getter returned nothing.
func (p *parser) malformed(code dhcpv4.OptionCode, isEmpty bool) {
	if isEmpty && len(p.Options.Get(code)) > 0 {
		p.ignore("%s: malformed", code)
	}
}

// parseLease reads the lease that a client got. It ignores invalid parts and returns
// a description of each. Only a lease that is not usable is an error.
func parseLease(packet *dhclient.Packet4) (l lease, invalid []string, err error) {
	ack, _ := packet.Message()
	p := &parser{DHCPv4: ack}
	if err := usable(ack); err != nil {
		return lease{}, nil, err
	}
	granted := packet.Lease()
	own := netip.AddrFrom4([4]byte(granted.IP.To4()))
	l.address = netip.PrefixFrom(own, p.prefix(granted.Mask))
	l.server = first(p.hosts(dhcpv4.OptionServerIdentifier, dhcpv4.GetIPs(dhcpv4.OptionServerIdentifier, ack.Options)))

	servers, search, domain := packet.GatherDNSSettings()
	l.dns = p.hosts(dhcpv4.OptionDomainNameServer, servers)
	l.dns = l.dns[:min(len(l.dns), maxServers)]
	domains := p.names(dhcpv4.OptionDomainName, strings.Split(domain, " ")...) // some servers send a search list in it
	l.domain = first(domains)
	l.search = p.names(dhcpv4.OptionDNSDomainSearchList, search...)
	if len(l.search) == 0 && len(domains) > 1 {
		l.search = domains
	}
	l.hostname = first(p.names(dhcpv4.OptionHostName, p.HostName()))

	// RFC 3442: option 3 only counts without option 121, even if all of that is invalid.
	switch {
	case len(p.Options.Get(dhcpv4.OptionClasslessStaticRoute)) > 0:
		l.routes = p.routes(own, dhcpv4.OptionClasslessStaticRoute)
	case len(p.Options.Get(microsoftRoutes)) > 0:
		l.routes = p.routes(own, microsoftRoutes)
	default:
		l.routes = p.defaultRoute(own)
	}
	l.mtu = p.mtu()
	l.time, l.renew, l.rebind = p.times()
	return l, p.invalid, nil
}

// usable returns why nothing of an offer or a lease can be used, or nil.
func usable(m *dhcpv4.DHCPv4) error {
	own, ok := netip.AddrFromSlice(m.YourIPAddr.To4())
	if !ok || !isUnicast(own) {
		return fmt.Errorf("the server leased %s: %w", m.YourIPAddr, errNotHost)
	}
	if m.IPAddressLeaseTime(fallbackTime) == 0 {
		return fmt.Errorf("the server leased %s for 0 seconds", own)
	}
	return nil
}

// errNotHost is the error for an address that no host can have.
var errNotHost = errors.New("not a host's address")

// prefix returns the length of a mask. dhclient takes /32 without option 1.
func (p *parser) prefix(mask net.IPMask) (bits int) {
	bits, size := mask.Size() // 0, 0 for a mask with holes
	if p.SubnetMask() == nil || size == 0 || bits < minPrefix {
		p.ignore("%s %s: not a network's; using /%d", dhcpv4.OptionSubnetMask, p.SubnetMask(), fallbackPrefix)
		return fallbackPrefix
	}
	return bits
}

// hosts returns the addresses of an option that a host can have.
func (p *parser) hosts(code dhcpv4.OptionCode, ips []net.IP) (addrs []netip.Addr) {
	p.malformed(code, len(ips) == 0)
	for _, ip := range ips {
		if a := netip.AddrFrom4([4]byte(ip)); isUnicast(a) { // dhcpv4 makes them 4 bytes long
			addrs = append(addrs, a)
		} else {
			p.ignore("%s %s: %v", code, a, errNotHost)
		}
	}
	return addrs
}

// first returns the first of all, or the zero value if there is none.
func first[T any](all []T) (none T) {
	for _, one := range all {
		return one
	}
	return none
}

// names returns the first domain names of an option, without dots around. Some servers end names with a NUL, against RFC 2132 section 2.
func (p *parser) names(code dhcpv4.OptionCode, names ...string) (valid []string) {
	p.malformed(code, len(names) == 0)
	for _, name := range names {
		name = strings.Trim(strings.TrimRight(name, "\x00"), ".")
		if isDomain(name) {
			valid = append(valid, name)
		} else if name != "" {
			p.ignore("%s %.64q: not a domain name", code, name)
		}
	}
	return valid[:min(len(valid), maxSearch)]
}

// isDomain reports whether name is a domain name of letters, digits, hyphens and underscores, with the
// lengths of RFC 1035 section 2.3.4. Other characters have a meaning to resolvers, terminals or shells.
func isDomain(name string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
	if len(name) > 253 {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || strings.Trim(label, letters) != "" {
			return false
		}
	}
	return true
}

func (p *parser) defaultRoute(own netip.Addr) []Route {
	for _, gateway := range p.hosts(dhcpv4.OptionRouter, p.Router()) {
		if gateway != own {
			return []Route{{Dst: netip.PrefixFrom(netip.IPv4Unspecified(), 0), Gateway: gateway}}
		}
		p.ignore("%s %s: our own address", dhcpv4.OptionRouter, gateway)
	}
	return nil
}

// routes returns the usable routes of an option. The first one for a destination counts.
func (p *parser) routes(own netip.Addr, code dhcpv4.OptionCode) (usable []Route) {
	var all dhcpv4.Routes
	if err := all.FromBytes(p.Options.Get(code)); err != nil {
		p.malformed(code, true)
		return nil
	}
	for i, r := range all {
		if len(usable) == maxRoutes {
			p.ignore("%s: %d routes too many", code, len(all)-i)
			break
		}
		bits, _ := r.Dest.Mask.Size()
		dst := netip.PrefixFrom(netip.AddrFrom4([4]byte(r.Dest.IP)), bits).Masked()
		via := netip.AddrFrom4([4]byte(r.Router))
		switch isOnLink := via.IsUnspecified(); {
		case !isUnicast(dst.Addr()) && !dst.Addr().IsUnspecified():
			p.ignore("route to %s: not a network of hosts", dst)
		case via == own:
			p.ignore("route to %s via %s: our own address", dst, via)
		case !isOnLink && !isUnicast(via):
			p.ignore("route to %s via %s: %v", dst, via, errNotHost)
		case slices.ContainsFunc(usable, func(u Route) bool { return u.Dst == dst }):
			p.ignore("route to %s via %s: the second one", dst, via)
		case isOnLink:
			usable = append(usable, Route{Dst: dst})
		default:
			usable = append(usable, Route{Dst: dst, Gateway: via})
		}
	}
	return usable
}

// mtu returns the MTU in bytes, or 0.
func (p *parser) mtu() int {
	mtu, err := dhcpv4.GetUint16(dhcpv4.OptionInterfaceMTU, p.Options)
	p.malformed(dhcpv4.OptionInterfaceMTU, err != nil)
	if err == nil && mtu < minMTU {
		p.ignore("%s %d: below %d", dhcpv4.OptionInterfaceMTU, mtu, minMTU)
		return 0
	}
	return int(mtu)
}

// times returns the times of a lease, with the defaults of RFC 2131 section 4.4.5 for T1 and T2. All are 0 for a lease without end.
func (p *parser) times() (total, renew, rebind time.Duration) {
	total = p.IPAddressLeaseTime(0)
	switch total {
	case forever:
		return 0, 0, 0
	case 0:
		total = fallbackTime
		p.ignore("%s: missing; using %s", dhcpv4.OptionIPAddressLeaseTime, total)
	}
	renew, rebind = total/2, total/8*7
	t1, t2 := p.IPAddressRenewalTime(0), p.IPAddressRebindingTime(0)
	has1, has2 := p.Options.Has(dhcpv4.OptionRenewTimeValue), p.Options.Has(dhcpv4.OptionRebindingTimeValue)
	switch {
	case 0 < t1 && t1 < t2 && t2 < total:
		return total, t1, t2
	case 0 < t1 && t1 < total && !has2:
		return total, t1, max(rebind, (t1+total)/2)
	case 0 < t2 && t2 < total && !has1:
		if renew >= t2 {
			renew = t2 / 2
		}
		return total, renew, t2
	case has1 || has2:
		p.ignore("renewal after %s and rebinding after %s: using %s and %s", t1, t2, renew, rebind)
	}
	return total, renew, rebind
}
