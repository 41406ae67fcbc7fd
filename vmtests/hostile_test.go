//go:build vmtest

package vmtests

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode"

	"github.com/arcinit/arcinit/pkg/arcsetup/netd"
	"github.com/arcinit/arcinit/vmtests/dhcppeer"
	"github.com/arcinit/arcinit/vmtests/probe"
	"github.com/insomniacslk/dhcp/dhcpv4"
)

// hostile is one way for a DHCP server to be one, and what the guest makes of it.
type hostile struct {
	name string
	// client is the address leased, by default one of the server's subnet. The
	// options are in each OFFER and ACK beside the router; edit has the last word.
	client  string
	options []dhcpv4.Option
	edit    func(*dhcpv4.DHCPv4)
	// fault is what becomes of the replies to DISCOVER and to the REQUEST that
	// follows an offer.
	fault dhcppeer.Fault

	// comes is what the guest is to have from it.
	comes outcomeOf
	bits  int // of the address's prefix; 24 by default
	// gateway and routes are for the primary NIC, which has the router for a
	// gateway by default; a bridge NIC has no routes.
	gateway string // "none": no default route
	routes  int    // beside the default one and that of the subnet
	mtu     int    // 1500 by default
	// said is what is logged, once; primarySaid what is logged of a primary NIC only.
	said, primarySaid []string
	// costs is the processor time that it may take, by default maxCost.
	costs time.Duration
}

type outcomeOf int

const (
	aLease  outcomeOf = iota // that is used as far as it makes sense
	noOffer                  // that the guest takes
	noLease                  // an offer is taken, and no lease comes of it
	either
)

const (
	// maxCost is the processor time of the network daemon for one bad lease and the
	// good one that follows, in an emulated guest.
	maxCost = time.Second
	// maxMemory is what the daemon may have of its own, in KiB.
	maxMemory = 24 << 10
	// recovery is the time from a server's becoming good until its lease is used,
	// two tries of the client.
	recovery = 8 * time.Second
	// goodLease is for how long the other NIC's server leases.
	goodLease = 20 * time.Second
)

func option(code dhcpv4.OptionCode, value ...byte) dhcpv4.Option {
	return dhcpv4.OptGeneric(code, value)
}

// hostiles are the bad servers in the subnet of server; other is the subnet of the
// NIC that has a good one.
func hostiles(server, other netip.Prefix) []hostile {
	gw := server.Addr().As4()
	next := other.Masked().Addr().As4()
	own := server.Masked().Addr().As4()
	routes := func(n int) []byte {
		var b []byte
		for i := range n {
			b = append(b, 24, 100, byte(i/256), byte(i), gw[0], gw[1], gw[2], gw[3])
		}
		return b
	}
	del := func(code dhcpv4.OptionCode) func(*dhcpv4.DHCPv4) {
		return func(m *dhcpv4.DHCPv4) { m.Options.Del(code) }
	}
	search := func(b ...byte) []dhcpv4.Option {
		return []dhcpv4.Option{option(dhcpv4.OptionDNSDomainSearchList, b...)}
	}
	classless := func(b ...byte) []dhcpv4.Option {
		return []dhcpv4.Option{option(dhcpv4.OptionClasslessStaticRoute, b...)}
	}
	mtu := func(v uint16) []dhcpv4.Option {
		return []dhcpv4.Option{dhcpv4.OptGeneric(dhcpv4.OptionInterfaceMTU, []byte{byte(v >> 8), byte(v)})}
	}
	seconds := func(code dhcpv4.OptionCode, b ...byte) dhcpv4.Option { return option(code, b...) }
	// These have a length that the guest can check.
	codes := []dhcpv4.OptionCode{
		dhcpv4.OptionSubnetMask, dhcpv4.OptionRouter, dhcpv4.OptionDomainNameServer, dhcpv4.OptionHostName,
		dhcpv4.OptionDomainName, dhcpv4.OptionInterfaceMTU, dhcpv4.OptionIPAddressLeaseTime, dhcpv4.OptionRenewTimeValue,
		dhcpv4.OptionRebindingTimeValue, dhcpv4.OptionDNSDomainSearchList, dhcpv4.OptionClasslessStaticRoute,
	}
	var empty []dhcpv4.Option
	for _, code := range codes {
		empty = append(empty, option(code))
	}
	return []hostile{
		{name: "mask 0", options: []dhcpv4.Option{option(dhcpv4.OptionSubnetMask, 0, 0, 0, 0)}, said: []string{"subnet mask 00000000"}},
		{name: "mask with holes", options: []dhcpv4.Option{option(dhcpv4.OptionSubnetMask, 255, 0, 255, 0)}, said: []string{"subnet mask ff00ff00"}},
		{name: "no mask", edit: del(dhcpv4.OptionSubnetMask), said: []string{"subnet mask: 0 bytes long"}},
		{name: "mask 32", options: []dhcpv4.Option{dhcpv4.OptSubnetMask(net.CIDRMask(32, 32))}, bits: 32},

		{name: "router off the link", options: []dhcpv4.Option{dhcpv4.OptRouter(net.IPv4(192, 0, 2, 1))}, gateway: "192.0.2.1"},
		{name: "router is the client", edit: func(m *dhcpv4.DHCPv4) { m.UpdateOption(dhcpv4.OptRouter(m.YourIPAddr)) },
			gateway: "none", said: []string{"is our own address"}},
		{name: "routers that are none", options: []dhcpv4.Option{option(dhcpv4.OptionRouter,
			0, 0, 0, 0, 255, 255, 255, 255, 224, 0, 0, 9, 127, 0, 0, 9)}, gateway: "none",
			said: []string{"Router 0.0.0.0: not", "Router 255.255.255.255: not", "Router 224.0.0.9: not", "Router 127.0.0.9: not"}},

		{name: "options of length 0", options: empty, gateway: "none"},
		{name: "options too short", gateway: "none", options: []dhcpv4.Option{
			option(dhcpv4.OptionSubnetMask, 255, 255, 255), option(dhcpv4.OptionRouter, gw[:3]...), option(dhcpv4.OptionDomainNameServer, gw[:3]...),
			option(dhcpv4.OptionInterfaceMTU, 5), seconds(dhcpv4.OptionIPAddressLeaseTime, 0, 0, 60), seconds(dhcpv4.OptionRenewTimeValue, 0, 0, 20),
			seconds(dhcpv4.OptionRebindingTimeValue, 0, 0, 40), option(dhcpv4.OptionDNSDomainSearchList, 5, 'a'), option(dhcpv4.OptionClasslessStaticRoute, 24, 100),
		}, said: []string{"subnet mask: 3 bytes long", "Router: 3 bytes too many", "Domain Name Server: 3 bytes too many", "MTU: 1 bytes long",
			"lease time: none", "search list: rfc1035label: buffer too short", "classless routes: malformed"}},
		{name: "options too long", options: []dhcpv4.Option{
			option(dhcpv4.OptionSubnetMask, 255, 255, 255, 0, 0), option(dhcpv4.OptionRouter, append(gw[:], 1)...), option(dhcpv4.OptionDomainNameServer, append(gw[:], 1)...),
			option(dhcpv4.OptionInterfaceMTU, 5, 220, 0), seconds(dhcpv4.OptionIPAddressLeaseTime, 0, 0, 0, 60, 0), seconds(dhcpv4.OptionRenewTimeValue, 0, 0, 0, 20, 0),
			seconds(dhcpv4.OptionRebindingTimeValue, 0, 0, 0, 40, 0), option(dhcpv4.OptionDNSDomainSearchList, 1, 'a', 0, 7),
			option(dhcpv4.OptionClasslessStaticRoute, append(routes(1), 0)...),
		}, said: []string{"subnet mask: 5 bytes long", "Router: 1 bytes too many", "Domain Name Server: 1 bytes too many", "MTU: 3 bytes long"}},
		{name: "options beyond the end", comes: noOffer, fault: replies(func(e *dhcppeer.Exchange, reply []byte) (all [][]byte) {
			for _, code := range codes {
				all = append(all, append(bytes.TrimRight(bytes.Clone(reply), "\xff\x00"), code.Code(), 255, 1, 2, 3))
			}
			return all
		})},

		{name: "classless routes with a prefix of 33", options: classless(33, 100, 1, 2, 3, 4, gw[0], gw[1], gw[2], gw[3])},
		{name: "classless routes cut off", options: classless(append(routes(3), 24, 100)...)},
		{name: "classless routes with host bits", options: classless(12, 172, 31, gw[0], gw[1], gw[2], gw[3]), gateway: "none", routes: 1},
		{name: "classless default route via the client", edit: func(m *dhcpv4.DHCPv4) {
			m.UpdateOption(option(dhcpv4.OptionClasslessStaticRoute, append([]byte{0}, m.YourIPAddr.To4()...)...))
		}, said: []string{"route to 0.0.0.0/0"}},
		{name: "classless routes to the networks of the NICs", options: classless(slices.Concat(
			[]byte{24}, next[:3], gw[:], []byte{32}, next[:3], []byte{1}, gw[:], []byte{25}, next[:3], []byte{0}, gw[:], []byte{24}, own[:3], gw[:])...), gateway: "none",
			primarySaid: []string{fmt.Sprintf("route to %s via", other.Masked()), fmt.Sprintf("route to %s via", server.Masked())}},
		{name: "classless routes, too many", options: classless(routes(140)...), gateway: "none", routes: 64, costs: 3 * time.Second,
			said: []string{"classless routes: 76 too many"}},
		{name: "classless routes, 1000 in 9 kB", options: classless(routes(1000)...), comes: noOffer},

		{name: "MTU 0", options: mtu(0), said: []string{"MTU 0: below 576"}},
		{name: "MTU 1", options: mtu(1), said: []string{"MTU 1: below 576"}},
		{name: "MTU 68", options: mtu(68), said: []string{"MTU 68: below 576"}},
		{name: "MTU 65535", options: mtu(65535), mtu: 65535},

		{name: "names with control characters", options: append(search(3, 0x1b, '[', 'm', 2, '\n', 'x', 0),
			option(dhcpv4.OptionHostName, []byte("\x1b[2J\nnetd: all is well")...), option(dhcpv4.OptionDomainName, []byte("a\x00b\r\x07")...)),
			said: []string{`Host Name \"\\x1b[2J\\nnetd: all is well\": not a domain name`, `Domain Name \"a\\x00b\\r\\a\": not`, `search list: \"\\x1b[m.\\nx\": not`}},
		{name: "names of 255 bytes", options: append(search(append(append([]byte{0xbf}, bytes.Repeat([]byte("s"), 0xbf)...), 0)...),
			option(dhcpv4.OptionHostName, bytes.Repeat([]byte("h"), 255)...), option(dhcpv4.OptionDomainName, bytes.Repeat([]byte("d"), 255)...)),
			said: []string{`Host Name \"hhhh`, `Domain Name \"dddd`, `search list: \"ssss`}},
		{name: "search list that points to itself", options: search(0xc0, 0), said: []string{"search list: rfc1035label: cannot handle nested pointers"}},
		{name: "search list that goes around", options: search(1, 'a', 0xc0, 0)},
		{name: "search list that points beyond", options: search(1, 'a', 0xff, 0xff)},

		{name: "lease time 0", options: []dhcpv4.Option{seconds(dhcpv4.OptionIPAddressLeaseTime, 0, 0, 0, 0)}},
		{name: "lease time 1 s", options: []dhcpv4.Option{seconds(dhcpv4.OptionIPAddressLeaseTime, 0, 0, 0, 1)}, said: []string{"lease time 1s: taking 10s"}},
		{name: "lease without end", options: []dhcpv4.Option{seconds(dhcpv4.OptionIPAddressLeaseTime, 255, 255, 255, 255)}},
		{name: "T1 after T2 after the end", options: []dhcpv4.Option{seconds(dhcpv4.OptionIPAddressLeaseTime, 0, 0, 0, 60),
			seconds(dhcpv4.OptionRenewTimeValue, 0, 0, 0, 120), seconds(dhcpv4.OptionRebindingTimeValue, 0, 0, 0, 90)},
			said: []string{"renewal and rebinding after 2m0s and 1m30s: taking 30s and 52.5s"}},

		{name: "address 0.0.0.0", client: "0.0.0.0", comes: noLease, said: []string{"lease of address 0.0.0.0: not a host's address"}},
		{name: "address of the loopback", client: "127.0.0.1", comes: noLease, said: []string{"lease of address 127.0.0.1: not"}},
		{name: "address of a group", client: "224.0.0.1", comes: noLease, said: []string{"lease of address 224.0.0.1: not"}},
		{name: "address of all", client: "255.255.255.255", comes: noLease, said: []string{"lease of address 255.255.255.255: not"}},

		{name: "no server identifier", edit: del(dhcpv4.OptionServerIdentifier)},
		{name: "another transaction", comes: noOffer, fault: flip(4)},
		{name: "another client", comes: noOffer, fault: flip(28)},
		{name: "offers, then silence", comes: noLease, fault: dhcppeer.Vanish},
		{name: "offers, then refusal", comes: noLease, fault: dhcppeer.Refuse},
		{name: "talking on", comes: noOffer, fault: chatter(100*time.Millisecond, 15*time.Second)},
		{name: "everything twice", fault: dhcppeer.Duplicate},
		{name: "out of order", comes: either, fault: dhcppeer.Reorder()},
		{name: "cut off at any byte", comes: either, fault: replies(func(_ *dhcppeer.Exchange, reply []byte) (all [][]byte) {
			for n := range reply {
				all = append(all, reply[:n])
			}
			return all
		})},
		{name: "corrupt, seed 1", comes: either, fault: corrupt(1)},
		{name: "corrupt, seed 2", comes: either, fault: corrupt(2)},
		{name: "corrupt, seed 3", comes: either, fault: corrupt(3)},
		{name: "10,000 offers", fault: once(dhcppeer.Flood(10_000)), costs: 20 * time.Second},
	}
}

// replies sends what f makes of a reply in its place.
func replies(f func(e *dhcppeer.Exchange, reply []byte) [][]byte) dhcppeer.Fault {
	return func(e *dhcppeer.Exchange) {
		var all []dhcppeer.Reply
		for _, r := range e.Replies {
			for _, payload := range f(e, r.Payload) {
				r.Payload = payload
				all = append(all, r)
			}
		}
		e.Replies = all
	}
}

// flip changes the byte of a reply at an offset.
func flip(at int) dhcppeer.Fault {
	return dhcppeer.Rewrite(func(_ *dhcpv4.DHCPv4, reply []byte) []byte {
		reply = bytes.Clone(reply)
		reply[at] ^= 1
		return reply
	})
}

// corrupt sends 200 versions of a reply, with up to eight bytes changed in each.
// The client's own address is not among them: what a server may say it may say.
func corrupt(seed uint64) dhcppeer.Fault {
	random := rand.New(rand.NewPCG(seed, 0))
	return replies(func(_ *dhcppeer.Exchange, reply []byte) (all [][]byte) {
		for range 200 {
			b := bytes.Clone(reply)
			for range 1 + random.IntN(8) {
				if at := random.IntN(len(b)); at < 16 || at >= 20 {
					b[at] ^= byte(1 + random.IntN(255))
				}
			}
			all = append(all, b)
		}
		return all
	})
}

// chatter answers each DISCOVER with ACKs of another server, which nobody waits for,
// one after the other.
func chatter(every, length time.Duration) dhcppeer.Fault {
	return func(e *dhcppeer.Exchange) {
		if e.Kind != dhcppeer.Discover {
			return
		}
		e.Replies = nil
		for after := time.Duration(0); after < length; after += every {
			r := e.Reply(dhcpv4.MessageTypeAck, dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.IPv4(192, 0, 2, 1))))
			r.After = after
			e.Replies = append(e.Replies, r)
		}
	}
}

// once has a fault happen to the first message only.
func once(fault dhcppeer.Fault) dhcppeer.Fault {
	done := false
	return func(e *dhcppeer.Exchange) {
		if !done {
			fault(e)
		}
		done = true
	}
}

func TestHostilePrimary(t *testing.T) {
	t.Parallel()
	testHostile(t, 0)
}

func TestHostileBridge(t *testing.T) {
	t.Parallel()
	testHostile(t, 1)
}

// victim is a guest with a hostile server on one NIC and a good one on the other.
type victim struct {
	m             *machine
	isPrimary     bool
	nic, otherNIC string
	peer, other   *dhcppeer.Peer
	server        netip.Prefix
	address       string // that the server leases when it is a good one
	netd          int    // its process
	links         []probe.Link
	routes        []string
	harmed        bool // for good
}

// testHostile has the servers of one NIC be hostile, one after the other, while
// the other NIC is in use all the time.
func testHostile(t *testing.T, bad int) {
	nics, peers := dhcpPeers(t, time.Hour)
	addresses := []string{primaryAddress, bridgeAddress}
	prefix, other := netip.MustParsePrefix(addresses[bad]), netip.MustParsePrefix(addresses[1-bad])
	v := &victim{
		isPrimary: bad == 0, nic: fmt.Sprintf("eth%d", bad), otherNIC: fmt.Sprintf("eth%d", 1-bad),
		peer: peers[bad], other: peers[1-bad], address: addresses[bad],
		server: netip.PrefixFrom(prefix.Masked().Addr().Next(), prefix.Bits()),
	}
	router := other.Masked().Addr().Next()
	v.other.Lease(dhcppeer.Lease{Client: other.Addr(), Time: goodLease, Options: []dhcpv4.Option{dhcpv4.OptRouter(router.AsSlice())}})
	v.m = boot(t, image{nics: nics, cmdline: []string{quiet}, tools: true, timeout: 4 * time.Minute})
	address(t, v.m, "eth0", primaryAddress)
	address(t, v.m, "eth1", bridgeAddress)
	v.netd = serviceStatus(t, v.m, "netd").PID
	v.links, v.routes = must[[]probe.Link](t, v.m, "Links", none{}), v.allRoutes(t)

	var pings, lost atomic.Int64
	ctx, cancel := context.WithCancel(t.Context())
	pinging := make(chan struct{})
	go func() {
		defer close(pinging)
		for ctx.Err() == nil {
			answer, done := context.WithTimeout(ctx, 3*time.Second)
			if err := v.other.Ping(answer, other.Addr()); err != nil && ctx.Err() == nil {
				lost.Add(1)
			}
			done()
			pings.Add(1)
			select {
			case <-time.After(100 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	}()
	start, discovers := time.Now(), v.other.Count(dhcppeer.Discover)
	for i, h := range hostiles(v.server, other) {
		missed := lost.Load()
		t.Run(h.name, func(t *testing.T) {
			v.suffer(t, i, h)
			if n := lost.Load() - missed; n > 0 {
				t.Errorf("%d pings of %s were lost", n, v.otherNIC)
			}
		})
		if v.harmed {
			break // what comes next would fail for this
		}
	}
	t.Run("10,000 offers while bound", v.testFloodWhileBound)
	cancel()
	<-pinging
	took := time.Since(start)
	t.Logf("%d pings in %v, %d lost", pings.Load(), took.Round(time.Second), lost.Load())
	if n := v.other.Count(dhcppeer.Discover) - discovers; n > 0 {
		t.Errorf("%s lost its lease %d times", v.otherNIC, n)
	}
	if n, least := v.other.Renewals(), int(took/goodLease); n < least {
		t.Errorf("%s renewed its lease %d times in %v", v.otherNIC, n, took)
	}
	v.testLog(t)
}

// suffer has the server be hostile, and then good.
func (v *victim) suffer(t *testing.T, i int, h hostile) {
	began, before, heldUpBefore := time.Now(), v.cost(t), v.m.heldUp(t)
	client := netip.PrefixFrom(v.server.Addr(), cmp.Or(h.bits, v.server.Bits()))
	a := client.Addr().As4()
	a[3] = byte(100 + i)
	client = netip.PrefixFrom(netip.AddrFrom4(a), client.Bits())
	lease := dhcppeer.Lease{Client: client.Addr(), Edit: h.edit,
		Options: append([]dhcpv4.Option{dhcpv4.OptRouter(v.server.Addr().AsSlice())}, h.options...)}
	if h.client != "" {
		lease.Client = netip.MustParseAddr(h.client)
	}
	sent := len(v.peer.Replies())
	v.peer.Lease(lease)
	v.peer.Behave()
	if h.fault != nil {
		v.peer.Behave(dhcppeer.On(h.fault, dhcppeer.Discover, dhcppeer.Selecting))
	}
	v.askAnew(t)
	answered := func(kinds ...dhcppeer.Kind) string {
		for _, r := range v.peer.Replies()[sent:] {
			if slices.Contains(kinds, r.To) {
				return ""
			}
		}
		return fmt.Sprintf("%s has not asked its server (%v)", v.nic, kinds)
	}
	requested := func() string {
		for _, m := range v.peer.Messages() {
			if m.At.After(began) && m.Kind == dhcppeer.Selecting {
				return ""
			}
		}
		return v.nic + " has taken no offer"
	}
	switch h.comes {
	case aLease:
		v.soon(t, func() string { return v.has(t, client.String()) })
		v.checkLease(t, h)
	case noOffer, either:
		v.soon(t, func() string { return answered(dhcppeer.Discover) })
	case noLease:
		v.soon(t, requested)
	}
	for _, r := range v.allRoutes(t) {
		if strings.HasSuffix(r, " "+v.otherNIC) && !slices.Contains(v.routes, r) {
			t.Errorf("%s has the route %s", v.otherNIC, r)
		}
	}
	v.recover(t, h.comes == aLease || h.comes == either)
	heldUp := v.m.heldUp(t) - heldUpBefore
	if cost, most := v.cost(t)-before, cmp.Or(h.costs, maxCost); cost-heldUp > most {
		t.Errorf("netd took %v of the processor, which was held up for %v", cost, heldUp)
	} else {
		t.Logf("%v, and %v of the processor", time.Since(began).Round(10*time.Millisecond), cost)
	}
	said := h.said
	if v.isPrimary {
		said = append(said, h.primarySaid...)
	}
	log := v.m.get("log/arcinit.log")
	for _, text := range said {
		if n := strings.Count(log, text); n != 1 {
			t.Errorf("%q was logged %d times", text, n)
		}
	}
}

// checkLease looks at what the guest has made of a lease.
func (v *victim) checkLease(t *testing.T, h hostile) {
	t.Helper()
	gateway, further := cmp.Or(h.gateway, v.server.Addr().String()), h.routes
	if !v.isPrimary {
		gateway, further = "none", 0
	}
	complaint := func() string {
		var gateways []string
		n := 0
		for _, r := range must[[]probe.Route](t, v.m, "Routes", none{}) {
			switch {
			case r.Link != v.nic:
			case r.Dst == "":
				gateways = append(gateways, r.Gateway)
			case r.Gateway != "":
				n++
			}
		}
		if gateways == nil {
			gateways = []string{"none"}
		}
		if !slices.Equal(gateways, []string{gateway}) || n != further {
			return fmt.Sprintf("default routes via %s and %d others; want %s and %d", gateways, n, gateway, further)
		}
		if l := link(must[[]probe.Link](t, v.m, "Links", none{}), v.nic); l.MTU != cmp.Or(h.mtu, 1500) {
			return fmt.Sprintf("the MTU is %d", l.MTU)
		}
		return ""
	}
	v.soon(t, complaint)
}

// askAnew has the client ask whether its lease still holds: the link goes, and
// comes back.
func (v *victim) askAnew(t *testing.T) {
	t.Helper()
	got := must[probe.Result](t, v.m, "Run", probe.Command{
		Argv: append(ip, "-batch", "-"), Stdin: fmt.Sprintf("link set %[1]s down\nlink set %[1]s up\n", v.nic),
	})
	if got.Code != 0 {
		t.Fatalf("ip: %+v", got)
	}
}

// recover has the server be a good one: soon all is as it was at first.
func (v *victim) recover(t *testing.T, ask bool) {
	t.Helper()
	v.peer.Lease(dhcppeer.Lease{Client: netip.MustParsePrefix(v.address).Addr(), Options: []dhcpv4.Option{dhcpv4.OptRouter(v.server.Addr().AsSlice())}})
	v.peer.Behave()
	if ask {
		v.askAnew(t)
	}
	v.harmed = !v.soon(t, func() string {
		if complaint := v.has(t, v.address); complaint != "" {
			return complaint
		}
		if links := must[[]probe.Link](t, v.m, "Links", none{}); !reflect.DeepEqual(links, v.links) {
			return fmt.Sprintf("links were %+v, and are %+v", v.links, links)
		}
		if routes := v.allRoutes(t); !slices.Equal(routes, v.routes) {
			return fmt.Sprintf("routes were %q, and are %q", v.routes, routes)
		}
		return ""
	})
	// A flood of offers goes before the answer.
	v.soon(t, func() string {
		if err := pinged(t, &v.peer.Host, netip.MustParsePrefix(v.address).Addr()); err != nil {
			return err.Error()
		}
		return ""
	})
	if got := serviceStatus(t, v.m, "netd"); got.PID != v.netd || got.Ends != 0 {
		t.Fatalf("netd was process %d, and is %+v", v.netd, got)
	}
	if n := network(t, v.m)[v.otherNIC]; n.State != netd.StateBound {
		t.Errorf("%s is %s", v.otherNIC, n.State)
	}
}

// testFloodWhileBound has 10,000 offers come to a client that has asked for none.
func (v *victim) testFloodWhileBound(t *testing.T) {
	flood := func(e *dhcppeer.Exchange) {
		for range 10_000 {
			e.Replies = append(e.Replies, e.Reply(dhcpv4.MessageTypeOffer))
		}
	}
	before, discovers := v.cost(t), v.peer.Count(dhcppeer.Discover)
	v.peer.Behave(once(flood))
	v.askAnew(t)
	v.recover(t, false)
	if n := v.peer.Count(dhcppeer.Discover) - discovers; n > 0 {
		t.Errorf("%s has lost its lease", v.nic)
	}
	t.Logf("%v of the processor", v.cost(t)-before)
}

// testLog looks at the whole log.
func (v *victim) testLog(t *testing.T) {
	for _, name := range []string{"log/arcinit.log", "log/services.log"} {
		text, err := os.ReadFile(filepath.Join(v.m.dirs["arcbox"], name))
		if os.IsNotExist(err) {
			continue
		}
		lines := strings.Split(string(text), "\n")
		t.Logf("%s has %d lines", name, len(lines))
		for _, line := range lines {
			if strings.ContainsFunc(line, func(r rune) bool { return unicode.IsControl(r) }) {
				t.Errorf("%s has the line %q", name, line)
			}
		}
	}
	for _, r := range must[[]probe.Record](t, v.m, "KernelLog", none{}) {
		if r.Level <= 3 {
			t.Errorf("the kernel log has %+v", r)
		}
	}
}

// soon waits for f to find what it looks for, and reports whether it has.
func (v *victim) soon(t *testing.T, f func() (complaint string)) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), recovery)
	defer cancel()
	every := time.NewTicker(50 * time.Millisecond)
	defer every.Stop()
	for {
		complaint := f()
		if complaint == "" {
			return true
		}
		select {
		case <-ctx.Done():
			t.Errorf("after %v: %s", recovery, complaint)
			return false
		case <-every.C:
		}
	}
}

// has complains unless the NIC has that address and no other.
func (v *victim) has(t *testing.T, address string) string {
	t.Helper()
	l := link(must[[]probe.Link](t, v.m, "Links", none{}), v.nic)
	if l == nil || !slices.Equal(l.Addresses, []string{address}) {
		return fmt.Sprintf("%s is %+v, want it to have %s", v.nic, l, address)
	}
	return ""
}

// allRoutes are the IPv4 routes of both NICs, in order.
func (v *victim) allRoutes(t *testing.T) (all []string) {
	t.Helper()
	for _, r := range must[[]probe.Route](t, v.m, "Routes", none{}) {
		all = append(all, fmt.Sprintf("%s via %s %s", cmp.Or(r.Dst, "default"), cmp.Or(r.Gateway, "none"), r.Link))
	}
	slices.Sort(all)
	return all
}

// cost is the processor time that the network daemon has had: fields 14 and 15 of
// /proc/PID/stat, in hundredths of a second (proc_pid_stat(5)). Its memory is
// looked at, too.
func (v *victim) cost(t *testing.T) time.Duration {
	t.Helper()
	_, after, _ := strings.Cut(v.m.read(t, fmt.Sprintf("/proc/%d/stat", v.netd)), ") ")
	fields := strings.Fields(after)
	var user, system int64
	if len(fields) < 13 {
		t.Fatalf("netd's stat: %q", after)
	}
	if _, err := fmt.Sscan(fields[11], &user); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscan(fields[12], &system); err != nil {
		t.Fatal(err)
	}
	_, memory, _ := strings.Cut(v.m.read(t, fmt.Sprintf("/proc/%d/status", v.netd)), "RssAnon:")
	var kib int
	if _, err := fmt.Sscan(memory, &kib); err != nil {
		t.Fatal(err)
	}
	if kib > maxMemory {
		t.Errorf("netd has %d KiB", kib)
	}
	return time.Duration(user+system) * 10 * time.Millisecond
}

// heldUp is for how long the host has kept the guest's processors waiting, so far:
// to the guest that is time of whatever it was running.
func (m *machine) heldUp(t *testing.T) (total time.Duration) {
	t.Helper()
	answer, err := m.QMP(t.Context(), "query-cpus-fast", nil)
	if err != nil {
		t.Fatal(err)
	}
	var processors []struct {
		Thread int `json:"thread-id"`
	}
	if err := json.Unmarshal(answer, &processors); err != nil {
		t.Fatalf("%s: %v", answer, err)
	}
	for _, p := range processors {
		// Nanoseconds on a processor, waiting for one, and how often
		// (Documentation/scheduler/sched-stats.rst).
		var ran, waited int64
		if text, err := os.ReadFile(fmt.Sprintf("/proc/%d/schedstat", p.Thread)); err != nil {
			t.Log(err) // a host that does not count
		} else if _, err := fmt.Sscan(string(text), &ran, &waited); err != nil {
			t.Fatal(err)
		}
		total += time.Duration(waited)
	}
	return total
}
