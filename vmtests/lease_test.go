//go:build vmtest

package vmtests

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/arcinit/arcinit/pkg/arcsetup/netd"
	"github.com/arcinit/arcinit/vmtests/dhcppeer"
	"github.com/arcinit/arcinit/vmtests/probe"
	"github.com/insomniacslk/dhcp/dhcpv4"
)

// talk is the DHCP messages between a guest and a peer since a moment.
type talk struct {
	*dhcppeer.Peer
	messages, replies int // before that moment
}

// since begins a talk.
func since(p *dhcppeer.Peer) talk { return talk{p, len(p.Messages()), len(p.Replies())} }

func (s talk) Messages() []dhcppeer.Message { return s.Peer.Messages()[s.messages:] }
func (s talk) Replies() []dhcppeer.Reply    { return s.Peer.Replies()[s.replies:] }

// of returns the messages of a kind.
func (s talk) of(kind dhcppeer.Kind) []dhcppeer.Message {
	return slices.DeleteFunc(s.Messages(), func(m dhcppeer.Message) bool { return m.Kind != kind })
}

// kinds returns the kinds of all messages.
func (s talk) kinds() (kinds []dhcppeer.Kind) {
	for _, m := range s.Messages() {
		kinds = append(kinds, m.Kind)
	}
	return kinds
}

// exchanged is kinds without what the guest sent again because a busy host answered
// late.
func (s talk) exchanged() (kinds []dhcppeer.Kind) {
	again := func(a, b dhcppeer.Message) bool { return a.Kind == b.Kind && a.TransactionID == b.TransactionID }
	for _, m := range slices.CompactFunc(s.Messages(), again) {
		kinds = append(kinds, m.Kind)
	}
	return kinds
}

// heard waits for the guest's first message of a kind.
func (s talk) heard(t *testing.T, kind dhcppeer.Kind) dhcppeer.Message {
	t.Helper()
	eventually(t, func() string {
		if len(s.of(kind)) == 0 {
			return fmt.Sprintf("the guest has sent %q to %s, want a %s", s.kinds(), s.Addr(), kind)
		}
		return ""
	})
	return s.of(kind)[0]
}

// sent waits for the server's first reply of a type.
func (s talk) sent(t *testing.T, what dhcpv4.MessageType) (found dhcppeer.Reply) {
	t.Helper()
	eventually(t, func() string {
		i := slices.IndexFunc(s.Replies(), func(r dhcppeer.Reply) bool { return r.Type == what })
		if i < 0 {
			return fmt.Sprintf("%s has sent no %s to %q", s.Addr(), what, s.kinds())
		}
		found = s.Replies()[i]
		return ""
	})
	return found
}

// answers waits until an address answers a ping.
func answers(t *testing.T, from *dhcppeer.Host, to netip.Addr) {
	t.Helper()
	eventually(t, func() string {
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		if err := from.Ping(ctx, to); err != nil {
			return err.Error()
		}
		return ""
	})
}

// noAddress waits until a link has no IPv4 address.
func noAddress(t *testing.T, m *machine, name string) {
	t.Helper()
	eventually(t, func() string {
		if l := link(must[[]probe.Link](t, m, "Links", none{}), name); l == nil || len(l.Addresses) > 0 {
			return fmt.Sprintf("%s is %+v, want it without an address", name, l)
		}
		return ""
	})
}

// defaultRoutes waits until the guest has exactly these default routes.
func defaultRoutes(t *testing.T, m *machine, want ...probe.Route) {
	t.Helper()
	eventually(t, func() string {
		var have []probe.Route
		for _, r := range must[[]probe.Route](t, m, "Routes", none{}) {
			if r.Dst == "" {
				have = append(have, r)
			}
		}
		if !slices.Equal(have, want) {
			return fmt.Sprintf("default routes are %+v, want %+v", have, want)
		}
		return ""
	})
}

// primaryRoute is the default route via the primary NIC's server.
var primaryRoute = probe.Route{Gateway: "10.9.0.1", Link: "eth0"}

// state waits until the guest's own report has a NIC in a state.
func state(t *testing.T, m *machine, name string, want netd.State) (n netd.NIC) {
	t.Helper()
	eventually(t, func() string {
		if n = network(t, m)[name]; n.State != want {
			return fmt.Sprintf("net.json has %s %s, want %s", name, n.State, want)
		}
		return ""
	})
	return n
}

func (m *machine) qmp(t *testing.T, command string, arguments any) {
	t.Helper()
	if _, err := m.QMP(t.Context(), command, arguments); err != nil {
		t.Fatal(err)
	}
}

// plug plugs the cable of a NIC, counted from 0, in or pulls it out.
func (m *machine) plug(t *testing.T, nic int, in bool) {
	t.Helper()
	m.qmp(t, "set_link", map[string]any{"name": fmt.Sprintf("nic%d", nic), "up": in})
}

// daemon returns the process ID of the network daemon, or 0 if it does not run.
func daemon(t *testing.T, m *machine) int {
	t.Helper()
	return netdProcess(t, m).PID
}

// netdProcess returns the network daemon, or no process if it does not run.
func netdProcess(t *testing.T, m *machine) (found probe.Process) {
	t.Helper()
	for _, p := range must[[]probe.Process](t, m, "Processes", none{}) {
		if p.PPID == 1 && len(p.Args) > 1 && p.Args[1] == "netd" {
			return p
		}
	}
	return found
}

// The addresses that both NICs lease, and their MAC addresses.
var (
	leased = []netip.Addr{netip.MustParsePrefix(primaryAddress).Addr(), netip.MustParsePrefix(bridgeAddress).Addr()}
	macs   = []string{"52:54:00:00:00:01", "52:54:00:00:00:02"}
)

// median returns the middle of d, which it sorts: some delays on a busy host do not change
// it.
func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}

// pinger pings an address five times a second until its context ends.
type pinger struct {
	done sync.WaitGroup

	mu   sync.Mutex
	sent int
	lost []time.Time // when the pings without an answer were sent
}

func startPinging(ctx context.Context, from *dhcppeer.Host, to netip.Addr) *pinger {
	p := &pinger{}
	p.done.Go(func() {
		every := time.NewTicker(200 * time.Millisecond)
		defer every.Stop()
		for ctx.Err() == nil {
			sent := time.Now()
			// An answer may be late. Wait for the last ping's answer, too.
			one, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
			err := from.Ping(one, to)
			cancel()
			p.mu.Lock()
			p.sent++
			if err != nil {
				p.lost = append(p.lost, sent)
			}
			p.mu.Unlock()
			select {
			case <-every.C:
			case <-ctx.Done():
			}
		}
	})
	return p
}

// enough waits until so many pings were sent.
func (p *pinger) enough(t *testing.T, want int) {
	t.Helper()
	eventually(t, func() string {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.sent < want {
			return fmt.Sprintf("%d pings were sent, want at least %d", p.sent, want)
		}
		return ""
	})
}

// noneLost checks that no ping before that moment was lost.
func (p *pinger) noneLost(t *testing.T, before time.Time) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, at := range p.lost {
		if at.Before(before) {
			t.Errorf("a ping was lost, %v too early", before.Sub(at))
		}
	}
}

// TestShortLeases has the servers renew short leases, refuse one, lease other addresses,
// and fall silent until the leases are over. In the end the guest releases its leases.
func TestShortLeases(t *testing.T) {
	t.Parallel()
	const lease = 10 * time.Second
	nics, peers := dhcpPeers(t, lease)
	m := boot(t, image{nics: nics, cmdline: []string{quiet}, timeout: 5 * time.Minute, shared: map[string]string{
		"etc/arcinit.toml": "[network]\nrelease_on_poweroff = true\n",
	}})
	must[none](t, m, "Echo", ":7")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var pingers []*pinger
	for i, p := range peers {
		answers(t, &p.Host, leased[i])
		pingers = append(pingers, startPinging(ctx, &p.Host, leased[i]))
	}
	testRenewed(t, m, peers, lease)

	var refused time.Time // the renewal of eth0
	t.Run("refused", func(t *testing.T) {
		s := since(peers[0])
		peers[0].Behave(dhcppeer.On(dhcppeer.Refuse, dhcppeer.Renewing))
		discover := s.heard(t, dhcppeer.Discover)
		refused = s.sent(t, dhcpv4.MessageTypeNak).At
		if ip := discover.RequestedIPAddress(); ip != nil {
			t.Errorf("the DISCOVER asks for %s, which was refused", ip)
		}
		s.sent(t, dhcpv4.MessageTypeAck)
		peers[0].Behave()
		want := []dhcppeer.Kind{dhcppeer.Renewing, dhcppeer.Discover, dhcppeer.Selecting}
		if got := s.exchanged(); len(got) < len(want) || !slices.Equal(got[:len(want)], want) {
			t.Errorf("the guest sent %q, want %q", got, want)
		}
		answers(t, &peers[0].Host, leased[0])
		defaultRoutes(t, m, primaryRoute)
	})
	for _, p := range pingers {
		p.enough(t, 20)
	}
	cancel()
	for _, p := range pingers {
		p.done.Wait()
	}
	pingers[0].noneLost(t, refused)
	pingers[1].noneLost(t, time.Now())

	t.Run("other addresses", func(t *testing.T) {
		addresses := []string{"10.9.0.99/24", "10.9.1.99/24"}
		var talks []talk
		for i, p := range peers {
			talks = append(talks, since(p))
			p.Behave(dhcppeer.Readdress)
			p.Lease(leaseOf(addresses[i], lease))
		}
		for i, s := range talks {
			testReaddressed(t, m, s, fmt.Sprintf("eth%d", i), leased[i], addresses[i])
		}
		defaultRoutes(t, m, primaryRoute)
		h, err := peers[0].Beyond(beyondPrimary)
		if err != nil {
			t.Fatal(err)
		}
		listen(t, h)
		reaches(t, m, beyondPrimary)
	})

	t.Run("silence", func(t *testing.T) { testSilence(t, m, peers) })

	for _, p := range peers {
		p.Behave()
	}
	for i, p := range peers {
		answers(t, &p.Host, leased[i])
		state(t, m, fmt.Sprintf("eth%d", i), netd.StateBound)
	}
	defaultRoutes(t, m, primaryRoute)
	t.Run("released", func(t *testing.T) {
		testPowerOff(t, m)
		for i, p := range peers {
			released := talk{Peer: p}.of(dhcppeer.Release)
			if len(released) != 1 {
				t.Fatalf("eth%d: the guest sent %q", i, talk{Peer: p}.kinds())
			}
			testMessages(t, macs[i], p)
			r := released[0]
			if !r.ClientIPAddr.Equal(leased[i].AsSlice()) || !r.ServerIdentifier().Equal(p.Addr().AsSlice()) {
				t.Errorf("eth%d: from %s, unicast %t: %s", i, r.From, r.Unicast, r.Summary())
			}
		}
	})
}

// testRenewed waits for three renewals. Each is a request to the server alone, T1 after the
// last ACK by the guest's own clock.
func testRenewed(t *testing.T, m *machine, peers []*dhcppeer.Peer, lease time.Duration) {
	const renewals = 3
	var before, after []netd.NIC
	obtained := make([][]time.Time, len(peers)) // the times that net.json had, one after the other
	for i := range peers {
		before = append(before, state(t, m, fmt.Sprintf("eth%d", i), netd.StateBound))
	}
	eventually(t, func() string {
		nics := network(t, m)
		after = nil
		for i, p := range peers {
			n := nics[before[i].Name]
			if !slices.ContainsFunc(obtained[i], n.Obtained.Equal) {
				obtained[i] = append(obtained[i], n.Obtained)
			}
			if len(obtained[i]) <= renewals {
				return fmt.Sprintf("%s had leases of %v, want %d renewals", n.Name, obtained[i], renewals)
			}
			if complaint := wrongInReport(n, p, lease); complaint != "" {
				return complaint
			}
			after = append(after, n)
		}
		return ""
	})
	for i, p := range peers {
		n := after[i]
		for j, at := range obtained[i][1:] {
			if least := obtained[i][j].Add(lease / 2); at.Before(least) {
				t.Errorf("the lease was renewed at %v, want %v at the earliest", at, least)
			}
		}
		if n.ConfiguredNS != before[i].ConfiguredNS {
			t.Errorf("the time of configuration was %d, and is %d", before[i].ConfiguredNS, n.ConfiguredNS)
		}
		s := talk{Peer: p}
		for place, kind := range s.exchanged() {
			if want := []dhcppeer.Kind{dhcppeer.Discover, dhcppeer.Selecting, dhcppeer.Renewing}[min(place, 2)]; kind != want {
				t.Fatalf("the guest sent %q, want a %s in place %d", s.kinds(), want, place)
			}
		}
		for _, m := range s.of(dhcppeer.Renewing) {
			if !m.Unicast || m.To != s.Addr() || m.From != leased[i] || !m.ClientIPAddr.Equal(leased[i].AsSlice()) || m.ServerIdentifier() != nil {
				t.Errorf("from %s to %s, unicast %t: %s", m.From, m.To, m.Unicast, m.Summary())
			}
		}
	}
}

// wrongInReport compares a NIC in net.json with what its server knows.
func wrongInReport(n netd.NIC, p *dhcppeer.Peer, lease time.Duration) (complaint string) {
	if n.State != netd.StateBound || n.Error != "" || n.Server != p.Addr() || n.LeaseSeconds != int64(lease/time.Second) {
		return fmt.Sprintf("net.json has the state %s, server %s, %d s, error %q", n.State, n.Server, n.LeaseSeconds, n.Error)
	}
	for want, got := range map[time.Duration]time.Time{lease / 2: n.Renews, lease / 8 * 7: n.Rebinds, lease: n.Expires} {
		if after := got.Sub(n.Obtained); after != want {
			return fmt.Sprintf("net.json has %v for %v", after, want)
		}
	}
	return ""
}

func testReaddressed(t *testing.T, m *machine, s talk, name string, old netip.Addr, client string) {
	t.Helper()
	fresh := netip.MustParsePrefix(client).Addr()
	answers(t, &s.Host, fresh)
	echoed(t, &s.Host, netip.AddrPortFrom(fresh, 7))
	if l := link(must[[]probe.Link](t, m, "Links", none{}), name); !slices.Equal(l.Addresses, []string{client}) {
		t.Errorf("%s has %v, want only %s", name, l.Addresses, client)
	}
	if err := pinged(t, &s.Host, old); err == nil {
		t.Errorf("%s still answers", old)
	}
	if n := state(t, m, name, netd.StateBound); len(n.Addresses) != 1 || n.Addresses[0].String() != client {
		t.Errorf("net.json has %+v", n)
	}
	if n := len(s.of(dhcppeer.Discover)); n > 0 {
		t.Errorf("the guest started over: %q", s.kinds())
	}
}

// testSilence gives both NICs their first addresses back, in leases of which each state
// lasts long enough to be seen, and has the servers fall silent.
func testSilence(t *testing.T, m *machine, peers []*dhcppeer.Peer) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var talks []talk
	var pingers []*pinger
	for i, p := range peers {
		p.Lease(leaseOf([]string{primaryAddress, bridgeAddress}[i], 30*time.Second,
			dhcpv4.OptRenewTimeValue(5*time.Second), dhcpv4.OptRebindingTimeValue(15*time.Second)))
	}
	for i, p := range peers {
		eventually(t, func() string {
			if n := network(t, m)[fmt.Sprintf("eth%d", i)]; n.LeaseSeconds != 30 {
				return fmt.Sprintf("the lease of %s is for %d s", n.Name, n.LeaseSeconds)
			}
			return ""
		})
		answers(t, &p.Host, leased[i])
		p.Behave(dhcppeer.Silent)
		talks = append(talks, since(p))
		pingers = append(pingers, startPinging(ctx, &p.Host, leased[i]))
	}
	for _, want := range []netd.State{netd.StateRenewing, netd.StateRebinding, netd.StateDiscovering} {
		for i := range peers {
			state(t, m, fmt.Sprintf("eth%d", i), want)
		}
	}
	for _, p := range pingers {
		p.enough(t, 20)
	}
	cancel()
	for i, s := range talks {
		name := fmt.Sprintf("eth%d", i)
		noAddress(t, m, name)
		s.heard(t, dhcppeer.Discover)
		pingers[i].done.Wait()
		if kinds := slices.Compact(s.kinds()); !slices.Equal(kinds, []dhcppeer.Kind{dhcppeer.Renewing, dhcppeer.Rebinding, dhcppeer.Discover}) {
			t.Fatalf("%s: the guest sent %q", name, kinds)
		}
		// Half of the lease is left.
		pingers[i].noneLost(t, s.of(dhcppeer.Rebinding)[0].At)
		for _, m := range s.of(dhcppeer.Renewing) {
			if !m.Unicast {
				t.Errorf("%s: the guest broadcast %s", name, m.Summary())
			}
		}
		for _, m := range s.of(dhcppeer.Rebinding) {
			if m.Unicast || m.To != netip.AddrFrom4([4]byte{255, 255, 255, 255}) || m.From != leased[i] || !m.ClientIPAddr.Equal(leased[i].AsSlice()) || m.ServerIdentifier() != nil {
				t.Errorf("%s: rebinding, from %s to %s, unicast %t: %s", name, m.From, m.To, m.Unicast, m.Summary())
			}
		}
		if n := network(t, m)[name]; len(n.Addresses) > 0 || n.Error == "" || !n.Expires.IsZero() || n.Server.IsValid() || len(n.Routes) > 0 {
			t.Errorf("without a lease net.json has %+v", n)
		}
	}
	defaultRoutes(t, m)
}

// TestLeaseAskedForAgain interrupts a guest in every way: each time it asks for the leases
// that it has. They last an hour, so it asks for no other reason.
func TestLeaseAskedForAgain(t *testing.T) {
	t.Parallel()
	nics, peers := dhcpPeers(t, time.Hour)
	m := boot(t, image{nics: nics, cmdline: []string{quiet}, tools: true})
	beyond, err := peers[0].Beyond(beyondPrimary)
	if err != nil {
		t.Fatal(err)
	}
	listen(t, beyond)
	for i, p := range peers {
		answers(t, &p.Host, leased[i])
	}
	bothSince := func() (both []talk) {
		for _, p := range peers {
			both = append(both, since(p))
		}
		return both
	}
	// works checks that both NICs are as before.
	works := func(t *testing.T) {
		t.Helper()
		for i, p := range peers {
			answers(t, &p.Host, leased[i])
			state(t, m, fmt.Sprintf("eth%d", i), netd.StateBound)
		}
		defaultRoutes(t, m, primaryRoute)
		reaches(t, m, beyondPrimary)
	}
	works(t)

	t.Run("cable", func(t *testing.T) {
		for i, p := range peers {
			name := fmt.Sprintf("eth%d", i)
			m.plug(t, i, false)
			state(t, m, name, netd.StateNoCarrier)
			if l := link(must[[]probe.Link](t, m, "Links", none{}), name); len(l.Addresses) != 1 {
				t.Errorf("without a cable %s has %v", name, l.Addresses)
			}
			s := since(p)
			m.plug(t, i, true)
			askedAgain(t, s, leased[i])
			state(t, m, name, netd.StateBound)
		}
		works(t)
	})
	t.Run("link", func(t *testing.T) {
		for i, p := range peers {
			name := fmt.Sprintf("eth%d", i)
			m.ip(t, "link", "set", name, "down")
			state(t, m, name, netd.StateNoCarrier)
			s := since(p)
			m.ip(t, "link", "set", name, "up")
			askedAgain(t, s, leased[i])
		}
		works(t)
	})
	t.Run("daemon", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		pings := startPinging(ctx, &peers[0].Host, leased[0])
		for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
			both, pid := bothSince(), daemon(t, m)
			must[none](t, m, "Kill", probe.Signal{PID: pid, Number: int(signal)})
			eventually(t, func() string {
				if now := daemon(t, m); now == 0 || now == pid {
					return fmt.Sprintf("the network daemon was process %d, and is %d", pid, now)
				}
				return ""
			})
			for i, s := range both {
				askedAgain(t, s, leased[i])
				s.sent(t, dhcpv4.MessageTypeAck)
			}
			works(t)
		}
		pings.enough(t, 5)
		cancel()
		pings.done.Wait()
		pings.noneLost(t, time.Now())
	})
	t.Run("clock", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		pings := startPinging(ctx, &peers[0].Host, leased[0])
		for _, by := range []time.Duration{2 * time.Hour, -2 * time.Hour, 2 * time.Second} {
			both, before := bothSince(), network(t, m)["eth0"]
			must[none](t, m, "SetClock", 100*time.Millisecond) // which is no reason to ask
			works(t)
			must[none](t, m, "SetClock", by)
			for i, s := range both {
				askedAgain(t, s, leased[i])
				s.sent(t, dhcpv4.MessageTypeAck)
			}
			works(t)
			eventually(t, func() string { // net.json follows
				if moved := network(t, m)["eth0"].Expires.Sub(before.Expires); moved < by || moved > by+time.Minute {
					return fmt.Sprintf("the clock was set by %v, and the end of the lease by %v", by, moved)
				}
				return ""
			})
			for i, s := range both {
				if got := s.exchanged(); len(got) != 1 {
					t.Errorf("eth%d: the clock was set by 100 ms and %v, and the guest sent %q", i, by, got)
				}
			}
		}
		pings.enough(t, 5)
		cancel()
		pings.done.Wait()
		pings.noneLost(t, time.Now())
	})
	t.Run("pause", func(t *testing.T) {
		const pause = time.Second
		both := bothSince()
		m.qmp(t, "stop", nil)
		<-time.After(pause)
		m.qmp(t, "cont", nil)
		must[none](t, m, "SetClock", 2*pause) // as the host would
		for i, s := range both {
			askedAgain(t, s, leased[i])
		}
		works(t)
	})
	t.Run("disturbed", func(t *testing.T) {
		// The daemon restores everything without asking the servers.
		both := bothSince()
		for _, change := range []string{
			"address flush dev eth0", "address del " + bridgeAddress + " dev eth1", "route flush dev eth0 proto dhcp",
			"route replace default via 10.9.0.77",
		} {
			m.ip(t, strings.Fields(change)...)
			works(t)
			for i, name := range []string{"eth0", "eth1"} {
				if l := link(must[[]probe.Link](t, m, "Links", none{}), name); !slices.Equal(l.Addresses, []string{[]string{primaryAddress, bridgeAddress}[i]}) {
					t.Errorf("after %q %s has %v", change, name, l.Addresses)
				}
			}
		}
		for i, s := range both {
			if got := s.kinds(); len(got) > 0 {
				t.Errorf("eth%d: the guest sent %q", i, got)
			}
		}
		said(t, m, "netd: ", bridgeAddress)
	})
	t.Run("lost", func(t *testing.T) {
		// By the new clock the leases are over. One server refuses, the other is silent.
		both := bothSince()
		peers[0].Behave(dhcppeer.On(dhcppeer.Refuse, dhcppeer.InitReboot))
		peers[1].Behave(dhcppeer.Silent)
		must[none](t, m, "SetClock", 2*time.Hour)
		for i, s := range both {
			s.heard(t, dhcppeer.Discover)
			want := []dhcppeer.Kind{dhcppeer.InitReboot, dhcppeer.Discover}
			if got := s.exchanged(); !slices.Equal(got[:len(want)], want) {
				t.Errorf("eth%d: the guest sent %q, want %q", i, got, want)
			}
		}
		both[0].sent(t, dhcpv4.MessageTypeNak)
		noAddress(t, m, "eth1")
		peers[1].Behave()
		works(t)
	})
	t.Run("daemon, refused", func(t *testing.T) {
		// The server leases another address by then.
		const fresh = "10.9.0.66/24"
		peers[0].Lease(leaseOf(fresh, time.Hour))
		s := since(peers[0])
		must[none](t, m, "Kill", probe.Signal{PID: daemon(t, m), Number: int(syscall.SIGKILL)})
		s.sent(t, dhcpv4.MessageTypeNak)
		answers(t, &s.Host, netip.MustParsePrefix(fresh).Addr())
		if l := link(must[[]probe.Link](t, m, "Links", none{}), "eth0"); !slices.Equal(l.Addresses, []string{fresh}) {
			t.Errorf("eth0 has %v", l.Addresses)
		}
		defaultRoutes(t, m, primaryRoute)
	})
	t.Run("loss", func(t *testing.T) {
		// The server refuses the old address for sure. Half of all other messages get
		// lost, both ways.
		peers[0].Lease(leaseOf(primaryAddress, time.Hour))
		for _, p := range peers {
			p.Behave(dhcppeer.On(dhcppeer.Refuse, dhcppeer.InitReboot),
				dhcppeer.On(dhcppeer.Lose(0.5), dhcppeer.Discover, dhcppeer.Selecting))
		}
		messages, replies := 0, 0
		for range 3 {
			both := bothSince()
			must[none](t, m, "SetClock", 2*time.Second) // makes the guest ask
			for i, s := range both {
				s.sent(t, dhcpv4.MessageTypeAck)
				state(t, m, fmt.Sprintf("eth%d", i), netd.StateBound)
				answers(t, &s.Host, leased[i])
				messages, replies = messages+len(s.Messages()), replies+len(s.Replies())
			}
		}
		if messages == replies {
			t.Errorf("%d messages had %d replies: none was lost", messages, replies)
		}
		for _, p := range peers {
			p.Behave()
		}
	})
	t.Run("poweroff", func(t *testing.T) {
		testPowerOff(t, m)
		for i, p := range peers {
			if n := p.Count(dhcppeer.Release); n != 0 {
				t.Errorf("eth%d: %d RELEASEs in the life of the guest", i, n)
			}
			testMessages(t, macs[i], p)
		}
	})
}

// askedAgain waits until the guest asks for the lease that it has, as after a reboot (RFC
// 2131 section 4.3.2).
func askedAgain(t *testing.T, s talk, client netip.Addr) {
	t.Helper()
	m := s.heard(t, dhcppeer.InitReboot)
	if !m.RequestedIPAddress().Equal(client.AsSlice()) || !m.ClientIPAddr.IsUnspecified() || m.ServerIdentifier() != nil || m.Unicast {
		t.Errorf("the guest asked, unicast %t: %s", m.Unicast, m.Summary())
	}
	if got := s.of(dhcppeer.Discover); len(got) > 0 {
		t.Errorf("the guest started over: %q", s.kinds())
	}
}

// ip runs the real ip in the guest, which must succeed, and returns its output.
func (m *machine) ip(t *testing.T, args ...string) string {
	t.Helper()
	r := m.run(t, append(ip, args...)...)
	if r.Code != 0 {
		t.Fatalf("ip %s: %s", strings.Join(args, " "), r.Stderr)
	}
	return r.Stdout
}
