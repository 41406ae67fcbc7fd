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
	"testing"
	"time"
	"unicode"

	"github.com/arcinit/arcinit/pkg/arcsetup/netd"
	"github.com/arcinit/arcinit/vmtests/dhcppeer"
	"github.com/arcinit/arcinit/vmtests/probe"
	"github.com/insomniacslk/dhcp/dhcpv4"
)

// hostile is one kind of bad DHCP server, and what the guest makes of it.
type hostile struct {
	name string
	// client is the address leased, by default one of the server's subnet. options and the
	// router are in each OFFER and ACK; edit changes each of them last.
	client  string
	options []dhcpv4.Option
	edit    func(*dhcpv4.DHCPv4)
	// fault changes the replies to DISCOVER and to the REQUEST after an offer.
	fault dhcppeer.Fault

	// comes is what the guest is to get from the server.
	comes outcomeOf
	bits  int // of the address's prefix; 24 by default
	// gateway and routes are for the primary NIC, which has the router for a
	// gateway by default; a bridge NIC has no routes.
	gateway string // "none": no default route
	routes  int    // besides the default route and the subnet's
	mtu     int    // 1500 by default
	// logged are values, each of them in one log line; primaryLogged are in the log for a
	// primary NIC only.
	logged, primaryLogged []string
	// costs is the processor time that the daemon may take, by default maxCost.
	costs time.Duration
	// bridge has the server serve the bridge NIC, too, where routes do not count.
	bridge bool
}

type outcomeOf int

const (
	aLease  outcomeOf = iota // the guest uses the valid parts of the lease
	noOffer                  // the guest takes no offer
	noLease                  // the guest takes an offer, and gets no lease
	either
)

const (
	// maxCost is the processor time that the network daemon may take for a bad lease and the
	// good lease after it, in an emulated guest.
	maxCost = time.Second
	// maxMemory bounds the daemon's private memory, in KiB.
	maxMemory = 24 << 10
	// recovery bounds the time from the server's becoming good until the guest uses its
	// lease: less than the server called "talking on" talks.
	recovery = 30 * time.Second
	// goodLease is the lease time of the other NIC's server.
	goodLease = 20 * time.Second
)

func option(code dhcpv4.OptionCode, value ...byte) dhcpv4.Option {
	return dhcpv4.OptGeneric(code, value)
}

// hostiles returns the bad servers in the subnet of server. other is the subnet of the NIC
// with the good server.
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
	search := func(b ...byte) []dhcpv4.Option {
		return []dhcpv4.Option{option(dhcpv4.OptionDNSDomainSearchList, b...)}
	}
	classless := func(b ...byte) []dhcpv4.Option {
		return []dhcpv4.Option{option(dhcpv4.OptionClasslessStaticRoute, b...)}
	}
	seconds := func(code dhcpv4.OptionCode, b ...byte) dhcpv4.Option { return option(code, b...) }
	// The guest can check the lengths of these options.
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
		{name: "mask 0", options: []dhcpv4.Option{option(dhcpv4.OptionSubnetMask, 0, 0, 0, 0)}, logged: []string{"Subnet Mask 00000000"}},
		{name: "mask with holes", options: []dhcpv4.Option{option(dhcpv4.OptionSubnetMask, 255, 0, 255, 0)}, logged: []string{"Subnet Mask ff00ff00"}},
		{name: "no mask", edit: lacking(dhcpv4.OptionSubnetMask), logged: []string{"Subnet Mask <nil>"}},
		{name: "mask 32", options: []dhcpv4.Option{dhcpv4.OptSubnetMask(net.CIDRMask(32, 32))}, bits: 32},

		{name: "router off the link", options: []dhcpv4.Option{dhcpv4.OptRouter(net.IPv4(192, 0, 2, 1))}, gateway: "192.0.2.1", bridge: true},
		{name: "router is the client", edit: func(m *dhcpv4.DHCPv4) { m.UpdateOption(dhcpv4.OptRouter(m.YourIPAddr)) },
			gateway: "none", bridge: true},
		{name: "routers that are no hosts", bridge: true, options: []dhcpv4.Option{option(dhcpv4.OptionRouter,
			0, 0, 0, 0, 255, 255, 255, 255, 224, 0, 0, 9, 127, 0, 0, 9)}, gateway: "none",
			logged: []string{"Router 0.0.0.0", "Router 255.255.255.255", "Router 224.0.0.9", "Router 127.0.0.9"}},

		{name: "options of length 0", options: empty, gateway: "none"},
		{name: "options too short", gateway: "none", options: []dhcpv4.Option{
			option(dhcpv4.OptionSubnetMask, 255, 255, 255), option(dhcpv4.OptionRouter, gw[:3]...), option(dhcpv4.OptionDomainNameServer, gw[:3]...),
			option(dhcpv4.OptionInterfaceMTU, 5), seconds(dhcpv4.OptionIPAddressLeaseTime, 0, 0, 60), seconds(dhcpv4.OptionRenewTimeValue, 0, 0, 20),
			seconds(dhcpv4.OptionRebindingTimeValue, 0, 0, 40), option(dhcpv4.OptionDNSDomainSearchList, 5, 'a'), option(dhcpv4.OptionClasslessStaticRoute, 24, 100),
		}, logged: []string{"Domain Name Server: ", "Interface MTU: ", "DNS Domain Search List: ", "Classless Static Route: "}},
		{name: "options too long", gateway: "none", options: []dhcpv4.Option{
			option(dhcpv4.OptionSubnetMask, 255, 255, 255, 0, 0), option(dhcpv4.OptionRouter, append(gw[:], 1)...), option(dhcpv4.OptionDomainNameServer, append(gw[:], 1)...),
			option(dhcpv4.OptionInterfaceMTU, 5, 220, 0), seconds(dhcpv4.OptionIPAddressLeaseTime, 0, 0, 0, 60, 0), seconds(dhcpv4.OptionRenewTimeValue, 0, 0, 0, 20, 0),
			seconds(dhcpv4.OptionRebindingTimeValue, 0, 0, 0, 40, 0), option(dhcpv4.OptionDNSDomainSearchList, 1, 'a', 0, 7),
			option(dhcpv4.OptionClasslessStaticRoute, append(routes(1), 0)...),
		}},
		{name: "options beyond the end", comes: noOffer, fault: replies(func(e *dhcppeer.Exchange, reply []byte) (all [][]byte) {
			for _, code := range codes {
				all = append(all, append(bytes.TrimRight(bytes.Clone(reply), "\xff\x00"), code.Code(), 255, 1, 2, 3))
			}
			return all
		})},

		{name: "classless routes with a prefix of 33", options: classless(33, 100, 1, 2, 3, 4, gw[0], gw[1], gw[2], gw[3]), gateway: "none"},
		{name: "classless routes cut off", options: classless(append(routes(3), 24, 100)...), gateway: "none"},
		{name: "classless routes with host bits", options: classless(12, 172, 31, gw[0], gw[1], gw[2], gw[3]), gateway: "none", routes: 1, bridge: true},
		{name: "classless default route via the client", edit: func(m *dhcpv4.DHCPv4) {
			m.UpdateOption(option(dhcpv4.OptionClasslessStaticRoute, append([]byte{0}, m.YourIPAddr.To4()...)...))
		}, gateway: "none", logged: []string{"0.0.0.0/0 via"}, bridge: true},
		{name: "classless routes to the networks of the NICs", options: classless(slices.Concat(
			[]byte{24}, next[:3], gw[:], []byte{32}, next[:3], []byte{1}, gw[:], []byte{25}, next[:3], []byte{0}, gw[:], []byte{24}, own[:3], gw[:])...), gateway: "none",
			primaryLogged: []string{other.Masked().String() + " via", server.Masked().String() + " via"}, bridge: true},
		{name: "classless routes, too many", options: classless(routes(140)...), gateway: "none", routes: 64, costs: 3 * time.Second,
			logged: []string{" 76 routes"}, bridge: true},
		{name: "classless routes, 1000 in 9 kB", options: classless(routes(1000)...), comes: noOffer},

		{name: "MTU 0", options: []dhcpv4.Option{withMTU(0)}, logged: []string{"Interface MTU 0:"}},
		{name: "MTU 1", options: []dhcpv4.Option{withMTU(1)}, logged: []string{"Interface MTU 1:"}},
		{name: "MTU 68", options: []dhcpv4.Option{withMTU(68)}, logged: []string{"Interface MTU 68:"}},
		{name: "MTU 65535", options: []dhcpv4.Option{withMTU(65535)}, mtu: 65535},

		{name: "names with control characters", options: append(search(3, 0x1b, '[', 'm', 2, '\n', 'x', 0),
			option(dhcpv4.OptionHostName, []byte("\x1b[2J\nnetd: all is well")...), option(dhcpv4.OptionDomainName, []byte("a\x00b\r\x07")...)),
			logged: []string{`Host Name \"\\x1b[2J\\nnetd: all is well\"`, `Domain Name \"a\\x00b\\r\\a\"`, `Search List \"\\x1b[m.\\nx\"`}},
		{name: "names of 255 bytes", options: append(search(append(append([]byte{0xbf}, bytes.Repeat([]byte("s"), 0xbf)...), 0)...),
			option(dhcpv4.OptionHostName, bytes.Repeat([]byte("h"), 255)...), option(dhcpv4.OptionDomainName, bytes.Repeat([]byte("d"), 255)...)),
			logged: []string{`Host Name \"hhhh`, `Domain Name \"dddd`}},
		{name: "search list that points to itself", options: search(0xc0, 0)},
		{name: "search list that goes around", options: search(1, 'a', 0xc0, 0)},
		{name: "search list that points beyond", options: search(1, 'a', 0xff, 0xff)},

		{name: "lease time 0", options: []dhcpv4.Option{seconds(dhcpv4.OptionIPAddressLeaseTime, 0, 0, 0, 0)}, comes: noOffer},
		{name: "lease time 1 s", options: []dhcpv4.Option{seconds(dhcpv4.OptionIPAddressLeaseTime, 0, 0, 0, 1)}},
		{name: "lease without end", options: []dhcpv4.Option{seconds(dhcpv4.OptionIPAddressLeaseTime, 255, 255, 255, 255)}},
		{name: "T1 after T2 after the end", options: []dhcpv4.Option{seconds(dhcpv4.OptionIPAddressLeaseTime, 0, 0, 0, 60),
			seconds(dhcpv4.OptionRenewTimeValue, 0, 0, 0, 120), seconds(dhcpv4.OptionRebindingTimeValue, 0, 0, 0, 90)},
			logged: []string{"1m30s"}},

		{name: "address 0.0.0.0", client: "0.0.0.0", comes: noOffer},
		{name: "address of the loopback", client: "127.0.0.1", comes: noOffer},
		{name: "address of a group", client: "224.0.0.1", comes: noOffer},
		{name: "address of all", client: "255.255.255.255", comes: noOffer},

		{name: "no server identifier", edit: lacking(dhcpv4.OptionServerIdentifier)},
		{name: "another transaction", comes: noOffer, fault: flip(4)},
		{name: "another client", comes: noOffer, fault: flip(28)},
		{name: "offers, then silence", comes: noLease, bridge: true, fault: dhcppeer.Vanish},
		{name: "offers, then refusal", comes: noLease, fault: dhcppeer.Refuse},
		{name: "talking on", comes: noOffer, bridge: true, fault: chatter(250*time.Millisecond, 2*recovery)},
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
		{name: "10,000 offers", fault: once(dhcppeer.Flood(10_000)), costs: 20 * time.Second, bridge: true},
	}
}

// replies replaces each reply with what f returns.
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

// flip changes the byte of each reply at an offset.
func flip(at int) dhcppeer.Fault {
	return dhcppeer.Rewrite(func(_ *dhcpv4.DHCPv4, reply []byte) []byte {
		reply = bytes.Clone(reply)
		reply[at] ^= 1
		return reply
	})
}

// corrupt sends 200 versions of a reply, with up to eight bytes changed in each. It does not
// change the client's address: a server may lease any.
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

// chatter answers each DISCOVER with unwanted ACKs of another server for that long.
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

// once applies a fault to the first message only.
func once(fault dhcppeer.Fault) dhcppeer.Fault {
	done := false
	return func(e *dhcppeer.Exchange) {
		if !done {
			fault(e)
		}
		done = true
	}
}

// TestHostile has the server of one NIC be bad in many ways, one after the other, while the
// other NIC has a good one. Most ways are the same for both NICs, and only try the primary.
func TestHostile(t *testing.T) {
	t.Parallel()
	nics, peers := dhcpPeers(t, time.Hour)
	m := boot(t, image{nics: nics, cmdline: []string{quiet}, tools: true, timeout: 8 * time.Minute})
	address(t, m, "eth0", primaryAddress)
	address(t, m, "eth1", bridgeAddress)
	for bad, name := range []string{"primary", "bridge"} {
		harmed := false
		t.Run(name, func(t *testing.T) { harmed = testHostile(t, m, peers, bad) })
		if harmed {
			return // later tests would fail for that
		}
	}
	testHostileLog(t, m)
}

// victim is a guest with a hostile server on one NIC and a good one on the other.
type victim struct {
	m             *machine
	isPrimary     bool
	nic, otherNIC string
	peer, other   *dhcppeer.Peer
	server        netip.Prefix
	address       string // that the server leases while it is good
	netd          int    // process ID
	links         []probe.Link
	routes        []string
	harmed        bool // for good
}

// testHostile has the server of the NIC with that index be bad, while the other NIC is in
// use all the time. It reports whether the guest did not recover.
func testHostile(t *testing.T, m *machine, peers []*dhcppeer.Peer, bad int) (harmed bool) {
	addresses := []string{primaryAddress, bridgeAddress}
	prefix, other := netip.MustParsePrefix(addresses[bad]), netip.MustParsePrefix(addresses[1-bad])
	v := &victim{
		m: m, isPrimary: bad == 0, nic: fmt.Sprintf("eth%d", bad), otherNIC: fmt.Sprintf("eth%d", 1-bad),
		peer: peers[bad], other: peers[1-bad], address: addresses[bad],
		server: netip.PrefixFrom(prefix.Masked().Addr().Next(), prefix.Bits()),
	}
	router := other.Masked().Addr().Next()
	v.other.Lease(dhcppeer.Lease{Client: other.Addr(), Time: goodLease, Options: []dhcpv4.Option{dhcpv4.OptRouter(router.AsSlice())}})
	v.askAnew(t, v.otherNIC)
	eventually(t, func() string {
		if n := network(t, m)[v.otherNIC]; n.LeaseSeconds != int64(goodLease/time.Second) {
			return fmt.Sprintf("the lease of %s is for %d s", n.Name, n.LeaseSeconds)
		}
		return ""
	})
	v.netd = serviceStatus(t, v.m, "netd").PID
	v.links, v.routes = must[[]probe.Link](t, v.m, "Links", none{}), v.allRoutes(t)

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	pings := startPinging(ctx, &v.other.Host, other.Addr())
	discovers, renewals := v.other.Count(dhcppeer.Discover), v.other.Renewals()
	for i, h := range hostiles(v.server, other) {
		if !v.isPrimary && !h.bridge {
			continue
		}
		t.Run(h.name, func(t *testing.T) { v.suffer(t, i, h) })
		if v.harmed {
			break
		}
	}
	t.Run("10,000 offers while bound", v.testFloodWhileBound)
	pings.enough(t, 20)
	eventually(t, func() string {
		if v.other.Renewals() == renewals {
			return v.otherNIC + " did not renew its lease"
		}
		return ""
	})
	cancel()
	pings.done.Wait()
	pings.noneLost(t, time.Now())
	if n := v.other.Count(dhcppeer.Discover) - discovers; n > 0 {
		t.Errorf("%s lost its lease %d times", v.otherNIC, n)
	}
	return v.harmed
}

// suffer has the server be bad, and then good.
func (v *victim) suffer(t *testing.T, i int, h hostile) {
	before, heldUpBefore, log := v.cost(t), v.m.heldUp(t), v.m.get("log/arcinit.log")
	client := netip.PrefixFrom(v.server.Addr(), cmp.Or(h.bits, v.server.Bits()))
	a := client.Addr().As4()
	a[3] = byte(100 + i)
	client = netip.PrefixFrom(netip.AddrFrom4(a), client.Bits())
	lease := dhcppeer.Lease{Client: client.Addr(), Edit: h.edit,
		Options: append([]dhcpv4.Option{dhcpv4.OptRouter(v.server.Addr().AsSlice())}, h.options...)}
	if h.client != "" {
		lease.Client = netip.MustParseAddr(h.client)
	}
	s := since(v.peer)
	v.peer.Lease(lease)
	v.peer.Behave()
	if h.fault != nil {
		v.peer.Behave(dhcppeer.On(h.fault, dhcppeer.Discover, dhcppeer.Selecting))
	}
	v.askAnew(t, v.nic)
	switch h.comes {
	case aLease:
		v.soon(t, func() string { return v.has(t, client.String()) })
		v.checkLease(t, h)
	case noOffer, either:
		v.soon(t, func() string { return fewer(len(s.of(dhcppeer.Discover)), 1) })
	case noLease:
		v.soon(t, func() string { return fewer(len(s.of(dhcppeer.Selecting)), 1) })
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
	}
	logged := h.logged
	if v.isPrimary {
		logged = append(logged, h.primaryLogged...)
	}
	log = strings.TrimPrefix(v.m.get("log/arcinit.log"), log)
	for _, value := range logged {
		if n := strings.Count(log, value); n != 1 {
			t.Errorf("%q was logged %d times, want once", value, n)
		}
	}
}

// checkLease checks the routes and the MTU.
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

// askAnew takes the link of a NIC down and up, so that the client verifies its lease.
func (v *victim) askAnew(t *testing.T, nic string) {
	t.Helper()
	got := must[probe.Result](t, v.m, "Run", probe.Command{
		Argv: append(ip, "-batch", "-"), Stdin: fmt.Sprintf("link set %[1]s down\nlink set %[1]s up\n", nic),
	})
	if got.Code != 0 {
		t.Fatalf("ip: %+v", got)
	}
}

// recover has the server be good, and waits until the guest is as it was at first.
func (v *victim) recover(t *testing.T, ask bool) {
	t.Helper()
	v.peer.Lease(dhcppeer.Lease{Client: netip.MustParsePrefix(v.address).Addr(), Options: []dhcpv4.Option{dhcpv4.OptRouter(v.server.Addr().AsSlice())}})
	v.peer.Behave()
	if ask {
		v.askAnew(t, v.nic)
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

// testFloodWhileBound sends 10,000 offers to a client that asked for none.
func (v *victim) testFloodWhileBound(t *testing.T) {
	flood := func(e *dhcppeer.Exchange) {
		for range 10_000 {
			e.Replies = append(e.Replies, e.Reply(dhcpv4.MessageTypeOffer))
		}
	}
	before, discovers := v.cost(t), v.peer.Count(dhcppeer.Discover)
	v.peer.Behave(once(flood))
	v.askAnew(t, v.nic)
	v.recover(t, false)
	if n := v.peer.Count(dhcppeer.Discover) - discovers; n > 0 {
		t.Errorf("%s has lost its lease", v.nic)
	}
	t.Logf("%v of the processor", v.cost(t)-before)
}

// testHostileLog looks at the whole log.
func testHostileLog(t *testing.T, m *machine) {
	for _, name := range []string{"log/arcinit.log", "log/services.log"} {
		text, err := os.ReadFile(filepath.Join(m.dirs["arcbox"], name))
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
	for _, r := range must[[]probe.Record](t, m, "KernelLog", none{}) {
		if r.Level <= 3 {
			t.Errorf("the kernel log has %+v", r)
		}
	}
}

// soon waits until f has no complaint, and reports whether that came in time.
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

// fewer complains about a number below want.
func fewer(n, want int) string {
	if n < want {
		return fmt.Sprintf("%d, want %d", n, want)
	}
	return ""
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

// allRoutes returns the IPv4 routes of both NICs, sorted.
func (v *victim) allRoutes(t *testing.T) (all []string) {
	t.Helper()
	for _, r := range must[[]probe.Route](t, v.m, "Routes", none{}) {
		all = append(all, fmt.Sprintf("%s via %s %s", cmp.Or(r.Dst, "default"), cmp.Or(r.Gateway, "none"), r.Link))
	}
	slices.Sort(all)
	return all
}

// cost returns the network daemon's processor time so far: fields 14 and 15 of
// /proc/PID/stat, in hundredths of a second (proc_pid_stat(5)). It checks the daemon's memory,
// too.
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

// heldUp returns how long the host has kept the guest's processors waiting so far. The guest
// counts that time for the process that was running.
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
