package netd

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"
)

// lease is what a DHCP server granted, reduced to what makes sense.
type lease struct {
	address netip.Prefix // our address, with the prefix length of its subnet
	server  netip.Addr
	routes  []Route // at most one for each destination
	dns     []netip.Addr
	mtu     int // in bytes; 0: the server gave none
	// hostname, domain and search are valid DNS names.
	hostname, domain string
	search           []string
	// time is how long the address may be used; 0 is for ever. renew and rebind are T1 and T2 of RFC 2131 section 4.4.5. All count from the REQUEST.
	time, renew, rebind time.Duration
}

// minPrefix is the shortest prefix of a classful network (RFC 950). A shorter one would make neighbours of half the Internet.
const minPrefix = 8

// isUnicast reports whether a host can have the address a: none of the blocks 0/8, 127/8 and 224/3 (RFC 6890).
func isUnicast(a netip.Addr) bool {
	first := a.As4()[0]
	return first != 0 && first != 127 && first < 224
}

// gateway returns the gateway of the default route, or the zero Addr.
func (l lease) gateway() netip.Addr {
	for _, r := range l.routes {
		if r.Dst.Bits() == 0 {
			return r.Gateway
		}
	}
	return netip.Addr{}
}

// limit removes what a NIC with that role does not use.
func (l *lease) limit(r Role) {
	if !r.takesRoutes() {
		l.routes, l.dns, l.domain, l.search = nil, nil, "", nil
	}
	if r != RolePrimary {
		l.routes = slices.DeleteFunc(l.routes, func(r Route) bool { return r.Dst.Bits() == 0 })
	}
}

// again returns when to ask once more for a lease that was not renewed: halfway to T2, or after T2 to the end (RFC 2131 section 4.4.5). It
// and passed count from the REQUEST that got the lease. An answer gets the minute of the RFC to arrive, and less for leases shorter than hours.
func (l lease) again(passed time.Duration) time.Duration {
	until := l.time
	if passed < l.rebind {
		until = l.rebind
	}
	least := min(max(l.time/16, shortTry), time.Minute)
	return min(passed+max((until-passed)/2, least), until)
}

// The first tries to get a lease take about shortTry each, until shortTries is over. Every later try takes twice as long as the one before, up to longTry.
const (
	shortTry   = 2 * time.Second
	shortTries = 30 * time.Second
	longTry    = time.Minute
)

// tryTime returns how long try n takes on average, counted from 0.
func tryTime(n int) time.Duration {
	n -= int(shortTries / shortTry)
	if n < 0 {
		return shortTry
	}
	return min(shortTry<<min(n+1, 16), longTry)
}

// randomly varies a time by up to a quarter, as RFC 2131 section 4.1 varies 4 s by one: guests that start together do not ask in step.
func randomly(d time.Duration) time.Duration { return d*3/4 + rand.N(d/2) }

// sends is how often a message is sent in one try, each pause being twice as long as
// the one before. With half of all packets lost, every other exchange succeeds.
const sends = 4

// firstPause returns the first pause, such that all pauses together take wait.
func firstPause(wait time.Duration) time.Duration { return wait / (1<<sends - 1) }

// age returns how long ago since was, by the clock that says longer: the monotonic
// clock stands still while the guest is paused, and the wall clock may be set back.
func age(since, now time.Time) time.Duration {
	return max(now.Sub(since), now.Round(0).Sub(since.Round(0)))
}
