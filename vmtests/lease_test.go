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

// talk is what a guest and a peer have said to each other since a moment.
type talk struct {
	*dhcppeer.Peer
	messages, replies int // before that
}

// since begins to listen.
func since(p *dhcppeer.Peer) talk { return talk{p, len(p.Messages()), len(p.Replies())} }

func (s talk) Messages() []dhcppeer.Message { return s.Peer.Messages()[s.messages:] }
func (s talk) Replies() []dhcppeer.Reply    { return s.Peer.Replies()[s.replies:] }

// of are the messages of a kind.
func (s talk) of(kind dhcppeer.Kind) []dhcppeer.Message {
	return slices.DeleteFunc(s.Messages(), func(m dhcppeer.Message) bool { return m.Kind != kind })
}

// kinds are what all messages were.
func (s talk) kinds() (kinds []dhcppeer.Kind) {
	for _, m := range s.Messages() {
		kinds = append(kinds, m.Kind)
	}
	return kinds
}

// exchanged is kinds without what was sent again, as it is when the host has other
// work and answers late.
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

// granted is when the server last sent an ACK.
func granted(p *dhcppeer.Peer) (at time.Time) {
	for _, r := range p.Replies() {
		if r.Type == dhcpv4.MessageTypeAck {
			at = r.At
		}
	}
	return at
}

// within checks the time from one moment to another.
func within(t *testing.T, what string, from, to time.Time, least, most time.Duration) {
	t.Helper()
	if took := to.Sub(from); took < least || took > most {
		t.Errorf("%s: after %v, want %v to %v", what, took.Round(time.Millisecond), least, most)
	} else {
		t.Logf("%s: after %v", what, took.Round(time.Millisecond))
	}
}

// answers waits for an address to answer a ping, and returns when it did.
func answers(t *testing.T, from *dhcppeer.Host, to netip.Addr) time.Time {
	t.Helper()
	eventually(t, func() string {
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		if err := from.Ping(ctx, to); err != nil {
			return err.Error()
		}
		return ""
	})
	return time.Now()
}

// noAddress waits for a link to have no IPv4 address any more.
func noAddress(t *testing.T, m *machine, name string) {
	t.Helper()
	eventually(t, func() string {
		if l := link(must[[]probe.Link](t, m, "Links", none{}), name); l == nil || len(l.Addresses) > 0 {
			return fmt.Sprintf("%s is %+v, want it without an address", name, l)
		}
		return ""
	})
}

// defaultRoutes waits for the guest to have exactly these default routes.
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

// primaryRoute is the default route by the primary NIC's server.
var primaryRoute = probe.Route{Gateway: "10.9.0.1", Link: "eth0"}

// state waits for the guest's own report to have a NIC in a state.
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

// plug puts the cable of a NIC, counted from 0, in or pulls it out.
func (m *machine) plug(t *testing.T, nic int, in bool) {
	t.Helper()
	m.qmp(t, "set_link", map[string]any{"name": fmt.Sprintf("nic%d", nic), "up": in})
}

// daemon is the process of the network daemon; 0 while there is none.
func daemon(t *testing.T, m *machine) int {
	t.Helper()
	for _, p := range must[[]probe.Process](t, m, "Processes", none{}) {
		if p.PPID == 1 && len(p.Args) > 1 && p.Args[1] == "netd" {
			return p.PID
		}
	}
	return 0
}

// The addresses of the guest on both NICs, and the NICs' MAC addresses.
var (
	leased = []netip.Addr{netip.MustParsePrefix(primaryAddress).Addr(), netip.MustParsePrefix(bridgeAddress).Addr()}
	macs   = []string{"52:54:00:00:00:01", "52:54:00:00:00:02"}
)

// TestServerAppears has no server answer for 20 s after the cables are in.
func TestServerAppears(t *testing.T) {
	t.Parallel()
	const unplugged, silence = 3 * time.Second, 20 * time.Second
	nics, peers := dhcpPeers(t, time.Hour)
	for _, p := range peers {
		p.Behave(dhcppeer.Silent)
	}
	arp := newCapture(t, 0)
	m := boot(t, image{nics: nics, cmdline: []string{quiet, "arcbox.hostname=guest-1"}, qemu: arp.qemu()})
	for i := range peers {
		m.plug(t, i, false)
	}
	start := must[probe.AtStart](t, m, "AtStart", none{})
	<-time.After(unplugged)
	var first []time.Time
	for i, p := range peers {
		state(t, m, fmt.Sprintf("eth%d", i), netd.StateNoCarrier)
		plugged := time.Now()
		m.plug(t, i, true)
		m := since(p).heard(t, dhcppeer.Discover)
		within(t, fmt.Sprintf("eth%d: the first DISCOVER after the link is up", i), plugged, m.At, 0, time.Second)
		first = append(first, m.At)
	}

	var answered []time.Duration
	every := time.NewTicker(time.Second)
	defer every.Stop()
	for now := first[1]; now.Before(first[1].Add(silence)); now = <-every.C {
		asked := time.Now()
		if got := must[probe.AtStart](t, m, "AtStart", none{}); got.PID != start.PID {
			t.Errorf("the agent was process %d, and is %d", start.PID, got.PID)
		}
		answered = append(answered, time.Since(asked))
	}
	if median(answered) > 250*time.Millisecond {
		t.Errorf("the agent answered after %v", answered)
	}
	var talks []talk
	for i, p := range peers {
		if n := network(t, m)[fmt.Sprintf("eth%d", i)]; n.State != netd.StateDiscovering || len(n.Addresses) > 0 || n.Error == "" {
			t.Errorf("net.json has %+v", n)
		}
		t.Run(fmt.Sprintf("eth%d/tries", i), func(t *testing.T) { testTries(t, macs[i], p.Messages()) })
		talks = append(talks, since(p))
		p.Behave()
	}
	for i, p := range peers {
		offered := talks[i].sent(t, dhcpv4.MessageTypeOffer).At
		talks[i].sent(t, dhcpv4.MessageTypeAck) // before which there is nobody to ping
		within(t, fmt.Sprintf("eth%d: a ping after the offer", i), offered, answers(t, &p.Host, leased[i]), 0, 3*time.Second)
		if got, want := talks[i].exchanged(), []dhcppeer.Kind{dhcppeer.Discover, dhcppeer.Selecting}; !slices.Equal(got, want) {
			t.Errorf("eth%d: the guest sent %q, want %q", i, got, want)
		}
	}
	if talks[0].heard(t, dhcppeer.Selecting).TransactionID == talks[1].heard(t, dhcppeer.Selecting).TransactionID {
		t.Error("both NICs have the same transaction id")
	}
	if now := must[probe.AtStart](t, m, "AtStart", none{}); now.PID != start.PID {
		t.Errorf("the agent was process %d, and is %d", start.PID, now.PID)
	}
	t.Run("untouched", func(t *testing.T) {
		if got := m.read(t, "/etc/resolv.conf"); got != "nameserver 127.0.0.1\n" {
			t.Errorf("/etc/resolv.conf holds %q", got)
		}
		for key, want := range map[string]string{"all/forwarding": "0\n", "eth0/forwarding": "0\n", "eth0/accept_ra": "1\n"} {
			if got := m.read(t, "/proc/sys/net/ipv6/conf/"+key); got != want {
				t.Errorf("ipv6 %s is %q, want %q", key, got, want)
			}
		}
		if n := arp.probes(t, leased[0]); n != 0 {
			t.Errorf("%d ARP probes were sent", n)
		}
	})
}

// testTries looks at what a NIC asks while nobody answers: four times in the two
// seconds of a try, each pause twice as long as the one before.
func testTries(t *testing.T, mac string, messages []dhcppeer.Message) {
	const try, sends = 2 * time.Second, 4
	const slack = 250 * time.Millisecond // guests are slow
	if len(messages) < 8*sends {
		t.Fatalf("%d messages in 20 s", len(messages))
	}
	// pauses has for each message of a try how long it came after the first, and
	// for that how long after the try before.
	var pauses [sends][]time.Duration
	var began time.Time // the try
	for i, m := range messages {
		if m.Kind != dhcppeer.Discover {
			t.Errorf("message %d is a %s", i, m.Kind)
		}
		if m.TransactionID != messages[0].TransactionID {
			t.Errorf("message %d has the transaction id %s, the first had %s", i, m.TransactionID, messages[0].TransactionID)
		}
		if i > 0 {
			pauses[i%sends] = append(pauses[i%sends], m.At.Sub(began))
		}
		if i%sends == 0 {
			began = m.At
		}
	}
	// One message that is late has others be early: what is between most counts.
	for n, all := range pauses {
		want := try
		if n > 0 {
			want = try / (1<<sends - 1) * (1<<n - 1)
		}
		if (median(all) - want).Abs() > slack {
			t.Errorf("message %d of a try comes after %v, want %v", n, all, want)
		}
	}
	m := messages[len(messages)-1]
	// Those of a try say the same; the first ones that no time has passed, however
	// long the cable was out.
	var less []time.Duration // whole seconds are said, of which up to one has begun
	for i := range len(messages) / sends {
		m := messages[i*sends]
		passed := m.At.Sub(messages[0].At)
		said := time.Duration(m.NumSeconds) * time.Second
		if said > passed+1500*time.Millisecond {
			t.Errorf("try %d says that it is asked for since %v, not %v", i, said, passed)
		}
		less = append(less, passed-said)
	}
	if usual := median(less); usual < -slack || usual > time.Second+slack {
		t.Errorf("tries say that they ask for less than they do: by %v", less)
	}
	if got := m.ClassIdentifier(); got != "arcinit" {
		t.Errorf("class id %q", got)
	}
	if got, want := fmt.Sprintf("% x", m.Options.Get(dhcpv4.OptionClientIdentifier)), "01 "+strings.ReplaceAll(mac, ":", " "); got != want {
		t.Errorf("client id %s, want %s", got, want)
	}
	if got := m.ClientHWAddr.String(); got != mac {
		t.Errorf("client's MAC address %s, want %s", got, mac)
	}
	if got := m.HostName(); got != "guest-1" {
		t.Errorf("host name %q", got)
	}
	asked := m.Options.Get(dhcpv4.OptionParameterRequestList)
	for _, code := range []byte{1, 3, 12, 15, 26, 119, 121} {
		if !slices.Contains(asked, code) {
			t.Errorf("option %d is not asked for: %v", code, asked)
		}
	}
	if slices.Index(asked, 121) > slices.Index(asked, 3) {
		t.Errorf("option 3 is asked for before 121 (RFC 3442): %v", asked)
	}
}

// median is what a moment of other work on the host does not change. It sorts d.
func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}

// pinger pings a host five times a second for as long as its context lasts.
type pinger struct {
	done sync.WaitGroup

	mu       sync.Mutex
	sent     int
	lost     []time.Time // when those without an answer were sent
	answered time.Time   // when the last one with an answer was sent
}

func startPinging(ctx context.Context, from *dhcppeer.Host, to netip.Addr) *pinger {
	p := &pinger{}
	p.done.Go(func() {
		every := time.NewTicker(200 * time.Millisecond)
		defer every.Stop()
		for ctx.Err() == nil {
			sent := time.Now()
			// What was dropped for want of an address never comes, and the rest
			// may be late: also the last is waited for, or its loss is not seen.
			one, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
			err := from.Ping(one, to)
			cancel()
			p.mu.Lock()
			p.sent++
			if err != nil {
				p.lost = append(p.lost, sent)
			} else {
				p.answered = sent
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

// noneLost checks that no ping before that moment was lost, and that there were some.
func (p *pinger) noneLost(t *testing.T, before time.Time, least int) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, at := range p.lost {
		if at.Before(before) {
			t.Errorf("a ping was lost, %v before it may be", before.Sub(at))
		}
	}
	if p.sent < least {
		t.Errorf("%d pings were sent, want at least %d", p.sent, least)
	}
	t.Logf("%d pings", p.sent)
}

// TestShortLeases has leases of 20 s renewed for two minutes while pings go, then
// the servers fall silent until the leases are over, and come back.
func TestShortLeases(t *testing.T) {
	t.Parallel()
	const (
		lease  = 20 * time.Second
		t1, t2 = lease / 2, lease / 8 * 7
		length = 95 * time.Second // nine renewals; one more follows, and the time of the last lease
		slack  = time.Second
		// The last lease has a longer time for its state to be seen.
		lastT2 = 14 * time.Second
	)
	nics, peers := dhcpPeers(t, lease)
	m := boot(t, image{nics: nics, cmdline: []string{quiet}, timeout: 5 * time.Minute})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var pingers []*pinger
	for i, p := range peers {
		answers(t, &p.Host, leased[i])
		pingers = append(pingers, startPinging(ctx, &p.Host, leased[i]))
	}

	for i := range peers {
		state(t, m, fmt.Sprintf("eth%d", i), netd.StateBound)
	}

	// The states of each NIC, one after the other, as net.json has them.
	states := map[string][]netd.State{}
	every := time.NewTicker(100 * time.Millisecond)
	defer every.Stop()
	watch := func(until time.Time) {
		t.Helper()
		for now := time.Now(); now.Before(until); now = <-every.C {
			for name, n := range twoNICs(t, m) {
				if s := states[name]; len(s) == 0 || s[len(s)-1] != n.State {
					states[name] = append(s, n.State)
				}
			}
		}
	}
	watch(time.Now().Add(length))
	last := time.Now()
	for i, p := range peers {
		name := fmt.Sprintf("eth%d", i)
		t.Run(name+"/report", func(t *testing.T) {
			// A renewal may be under way.
			eventually(t, func() string { return wrongInReport(network(t, m)[name], p, lease, t1, t2) })
		})
		client := []string{primaryAddress, bridgeAddress}[i]
		p.Lease(leaseOf(client, lease,
			dhcpv4.OptGeneric(dhcpv4.OptionRenewTimeValue, []byte{0, 0, 0, byte(t1 / time.Second)}),
			dhcpv4.OptGeneric(dhcpv4.OptionRebindingTimeValue, []byte{0, 0, 0, byte(lastT2 / time.Second)})))
		last = time.Now()
	}
	for i, p := range peers {
		for !granted(p).After(last) {
			if time.Since(last) > lease {
				t.Fatalf("eth%d has not asked again", i)
			}
			watch(time.Now().Add(100 * time.Millisecond))
		}
	}

	var silences []talk
	var expire []time.Time
	for i, p := range peers {
		name := fmt.Sprintf("eth%d", i)
		p.Behave(dhcppeer.Silent)
		silences = append(silences, since(p))
		expire = append(expire, granted(p).Add(lease))
		t.Run(name+"/renewals", func(t *testing.T) {
			testRenewals(t, talk{Peer: p}, leased[i], t1, slack)
			if s := states[name]; !slices.Equal(s, []netd.State{netd.StateBound}) {
				t.Errorf("the states were %q", s)
			}
		})
	}
	watch(slices.MaxFunc(expire, time.Time.Compare).Add(3 * time.Second))

	for i := range peers {
		name := fmt.Sprintf("eth%d", i)
		t.Run(name+"/silence", func(t *testing.T) {
			// Only the loss of the lease ends the pings.
			pingers[i].noneLost(t, expire[i].Add(-slack/2), int(length/time.Second)*4)
			within(t, "the last answered ping since the last ACK", expire[i].Add(-lease), pingers[i].answered, lease-slack, lease+2*time.Second)
			noAddress(t, m, name)

			s := silences[i]
			renewing, rebinding, discover := s.of(dhcppeer.Renewing), s.of(dhcppeer.Rebinding), s.of(dhcppeer.Discover)
			if len(renewing) == 0 || len(rebinding) == 0 || len(discover) == 0 {
				t.Fatalf("the guest sent %q", s.kinds())
			}
			within(t, "renewing since the ACK", expire[i].Add(-lease), renewing[0].At, t1-slack, t1+slack)
			within(t, "rebinding since the ACK", expire[i].Add(-lease), rebinding[0].At, lastT2-slack, lastT2+slack)
			within(t, "starting over since the ACK", expire[i].Add(-lease), discover[0].At, lease-slack, lease+2*time.Second)
			for _, m := range renewing {
				if !m.Unicast || m.At.After(rebinding[0].At) {
					t.Errorf("a renewal at %v, unicast %t", m.At, m.Unicast)
				}
			}
			for _, m := range rebinding {
				if m.Unicast || m.To != netip.AddrFrom4([4]byte{255, 255, 255, 255}) || !m.ClientIPAddr.Equal(leased[i].AsSlice()) || m.ServerIdentifier() != nil {
					t.Errorf("rebinding, to %s, unicast %t: %s", m.To, m.Unicast, m.Summary())
				}
			}
			want := []netd.State{netd.StateBound, netd.StateRenewing, netd.StateRebinding, netd.StateDiscovering}
			if !slices.Equal(states[name], want) {
				t.Errorf("the states were %q, want %q", states[name], want)
			}
			if n := network(t, m)[name]; len(n.Addresses) > 0 || n.Error == "" || !n.Expires.IsZero() || n.Server.IsValid() || len(n.Routes) > 0 {
				t.Errorf("without a lease net.json has %+v", n)
			}
		})
	}
	defaultRoutes(t, m)

	for i, p := range peers {
		p.Behave()
		s := since(p)
		offered := s.sent(t, dhcpv4.MessageTypeOffer).At
		s.sent(t, dhcpv4.MessageTypeAck)
		within(t, "a ping after the offer", offered, answers(t, &p.Host, leased[i]), 0, 3*time.Second)
		state(t, m, fmt.Sprintf("eth%d", i), netd.StateBound)
	}
	defaultRoutes(t, m, primaryRoute)
	cancel()
	for _, p := range pingers {
		p.done.Wait()
	}
}

// testRenewals looks at how a lease is kept that the server renews each time: by
// requests to it alone, at T1. A host with other work may have some be late, or
// answer so late that they are sent again.
func testRenewals(t *testing.T, s talk, client netip.Addr, t1, slack time.Duration) {
	if n := len(s.of(dhcppeer.Discover)); n != 1 {
		t.Errorf("there were %d DISCOVERs: %q", n, s.kinds())
	}
	var before time.Time
	var id dhcpv4.TransactionID
	var pauses []time.Duration
	again := map[dhcpv4.TransactionID]bool{}
	for _, m := range s.Messages() {
		if m.Kind == dhcppeer.Renewing && m.TransactionID == id {
			again[id] = true
			continue
		}
		id = m.TransactionID
		switch m.Kind {
		case dhcppeer.Discover:
		case dhcppeer.Selecting:
			before = m.At
		case dhcppeer.Renewing:
			pauses = append(pauses, m.At.Sub(before))
			before = m.At
			if !m.Unicast || m.To != s.Addr() || m.From != client || !m.ClientIPAddr.Equal(client.AsSlice()) {
				t.Errorf("from %s to %s, unicast %t: %s", m.From, m.To, m.Unicast, m.Summary())
			}
		default:
			t.Errorf("the guest sent a %s", m.Kind)
		}
	}
	if n := s.Renewals(); n < 10 || len(again) > n/2 {
		t.Fatalf("%d renewals, of which %d took more than a message", n, len(again))
	}
	if slices.Min(pauses) < t1-slack || median(pauses) > t1+slack/4 {
		t.Errorf("renewals came after %v", pauses)
	}
}

// wrongInReport compares what net.json has of a NIC with what its server knows.
func wrongInReport(n netd.NIC, p *dhcppeer.Peer, lease, t1, t2 time.Duration) (complaint string) {
	if n.Error != "" || n.Server != p.Addr() || n.LeaseSeconds != int64(lease/time.Second) {
		return fmt.Sprintf("net.json has the server %s, %d s, error %q", n.Server, n.LeaseSeconds, n.Error)
	}
	for what, took := range map[time.Duration]time.Duration{t1: n.Renews.Sub(n.Obtained), t2: n.Rebinds.Sub(n.Obtained), lease: n.Expires.Sub(n.Obtained)} {
		if took != what {
			return fmt.Sprintf("net.json has %v for %v", took, what)
		}
	}
	// The guest's clock begins with whole seconds.
	if late := n.Obtained.Sub(granted(p)); late.Abs() > 2*time.Second {
		return fmt.Sprintf("net.json has the lease obtained at %v, the server granted it %v before", n.Obtained, late)
	}
	sent, received := map[string]int{}, map[string]int{}
	for kind, n := range p.Received() {
		sent[kind.String()] = n
	}
	for _, r := range p.Replies() {
		received[r.Type.String()]++
	}
	if fmt.Sprint(n.Messages) != fmt.Sprint(netd.Messages{Sent: sent, Received: received}) {
		return fmt.Sprintf("net.json counts %v, the server sent %v and received %v", n.Messages, received, sent)
	}
	return ""
}

// TestLeaseChanges has a server refuse to renew a lease, and one renew it with
// another address.
func TestLeaseChanges(t *testing.T) {
	t.Parallel()
	const lease = 10 * time.Second // the shortest that the daemon believes
	nics, peers := dhcpPeers(t, lease)
	m := boot(t, image{nics: nics, cmdline: []string{quiet}})
	must[none](t, m, "Echo", ":7")
	for i, p := range peers {
		answers(t, &p.Host, leased[i])
	}
	refused := since(peers[0])
	peers[0].Behave(dhcppeer.On(dhcppeer.Refuse, dhcppeer.Renewing))
	t.Run("refused", func(t *testing.T) {
		nak := refused.sent(t, dhcpv4.MessageTypeNak).At
		discover := refused.heard(t, dhcppeer.Discover)
		within(t, "DISCOVER after the NAK", nak, discover.At, 0, 2*time.Second)
		if ip := discover.RequestedIPAddress(); ip != nil {
			t.Errorf("the DISCOVER asks for %s, which was refused", ip)
		}
		refused.sent(t, dhcpv4.MessageTypeAck)
		within(t, "a ping after the NAK", nak, answers(t, &peers[0].Host, leased[0]), 0, 3*time.Second)
		want := []dhcppeer.Kind{dhcppeer.Renewing, dhcppeer.Discover, dhcppeer.Selecting}
		if got := refused.exchanged()[:len(want)]; !slices.Equal(got, want) {
			t.Errorf("the guest sent %q, want %q", got, want)
		}
		defaultRoutes(t, m, primaryRoute)
		peers[0].Behave()
	})
	t.Run("readdressed", func(t *testing.T) {
		bridge := readdress(peers[1], "10.9.1.99/24", lease)
		testReaddressed(t, m, bridge, "eth1", leased[1], "10.9.1.99/24")
	})
	t.Run("readdressed with routes", func(t *testing.T) {
		primary := readdress(peers[0], "10.9.0.99/24", lease)
		testReaddressed(t, m, primary, "eth0", leased[0], "10.9.0.99/24")
		defaultRoutes(t, m, primaryRoute)
		h, err := peers[0].Beyond(beyondPrimary)
		if err != nil {
			t.Fatal(err)
		}
		listen(t, h)
		reaches(t, m, beyondPrimary)
	})
}

// readdress has a server renew its lease with another address.
func readdress(p *dhcppeer.Peer, client string, lease time.Duration) talk {
	s := since(p)
	p.Lease(leaseOf(client, lease))
	p.Behave(dhcppeer.Readdress)
	return s
}

func testReaddressed(t *testing.T, m *machine, s talk, name string, old netip.Addr, client string) {
	fresh := netip.MustParsePrefix(client).Addr()
	acked := s.sent(t, dhcpv4.MessageTypeAck)
	within(t, "a ping to the new address after the ACK", acked.At, answers(t, &s.Host, fresh), 0, 2*time.Second)
	echoed(t, &s.Host, netip.AddrPortFrom(fresh, 7))
	if l := link(must[[]probe.Link](t, m, "Links", none{}), name); !slices.Equal(l.Addresses, []string{client}) {
		t.Errorf("%s has %v, want only %s", name, l.Addresses, client)
	}
	if err := pinged(t, &s.Host, old); err == nil {
		t.Errorf("%s still answers", old)
	}
	if n := network(t, m)[name]; n.State != netd.StateBound || len(n.Addresses) != 1 || n.Addresses[0].String() != client {
		t.Errorf("net.json has %+v", n)
	}
	if n := len(s.of(dhcppeer.Discover)); n > 0 {
		t.Errorf("the guest started over: %q", s.kinds())
	}
}

// TestLeaseAskedForAgain has a guest lose sight of its servers in all ways, for a
// moment: it must ask for the leases that it has, and lose no others.
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
	// works checks that all is as it was.
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
			var took []time.Duration
			for range 3 {
				m.plug(t, i, false)
				state(t, m, name, netd.StateNoCarrier)
				if l := link(must[[]probe.Link](t, m, "Links", none{}), name); len(l.Addresses) != 1 {
					t.Errorf("without a cable %s has %v", name, l.Addresses)
				}
				s, plugged := since(p), time.Now()
				m.plug(t, i, true)
				took = append(took, askedAgain(t, s, leased[i]).Sub(plugged))
				state(t, m, name, netd.StateBound)
			}
			if median(took) > 500*time.Millisecond {
				t.Errorf("%s asks %v after the cable is in", name, took)
			}
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
		cancel()
		pings.done.Wait()
		pings.noneLost(t, time.Now(), 5)
	})
	t.Run("clock", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		pings := startPinging(ctx, &peers[0].Host, leased[0])
		for _, by := range []time.Duration{2 * time.Hour, -2 * time.Hour, 2 * time.Second} {
			both, before, now := bothSince(), network(t, m)["eth0"], time.Now()
			must[none](t, m, "SetClock", by)
			for i, s := range both {
				within(t, fmt.Sprintf("eth%d asks after the clock was set by %v", i, by), now, askedAgain(t, s, leased[i]), 0, 2*time.Second)
				s.sent(t, dhcpv4.MessageTypeAck)
			}
			works(t)
			eventually(t, func() string { // net.json follows
				if moved := network(t, m)["eth0"].Expires.Sub(before.Expires); moved < by || moved > by+time.Minute {
					return fmt.Sprintf("the clock was set by %v, and the end of the lease by %v", by, moved)
				}
				return ""
			})
		}
		both := bothSince()
		must[none](t, m, "SetClock", 100*time.Millisecond)
		<-time.After(3 * time.Second)
		for i, s := range both {
			if got := s.kinds(); len(got) > 0 {
				t.Errorf("eth%d: the clock was set by 100 ms, and the guest sent %q", i, got)
			}
		}
		cancel()
		pings.done.Wait()
		pings.noneLost(t, time.Now(), 20)
	})
	t.Run("pause", func(t *testing.T) {
		const pause = 3 * time.Second
		both := bothSince()
		m.qmp(t, "stop", nil)
		<-time.After(pause)
		m.qmp(t, "cont", nil)
		now := time.Now()
		must[none](t, m, "SetClock", pause) // as the host would
		for i, s := range both {
			within(t, fmt.Sprintf("eth%d asks after a pause", i), now, askedAgain(t, s, leased[i]), 0, 2*time.Second)
		}
		works(t)
	})
	t.Run("disturbed", func(t *testing.T) {
		// Without a word to the servers all is back, long before the next renewal.
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
		// The leases would be over. One server refuses, the other says nothing.
		both := bothSince()
		peers[0].Behave(dhcppeer.On(dhcppeer.Refuse, dhcppeer.InitReboot))
		peers[1].Behave(dhcppeer.Silent)
		now := time.Now()
		must[none](t, m, "SetClock", 2*time.Hour)
		nak := both[0].sent(t, dhcpv4.MessageTypeNak)
		within(t, "eth0 starts over after the NAK", nak.At, both[0].heard(t, dhcppeer.Discover).At, 0, 2*time.Second)
		within(t, "eth1 starts over after the clock was set", now, both[1].heard(t, dhcppeer.Discover).At, time.Second, 4*time.Second)
		noAddress(t, m, "eth1")
		peers[1].Behave()
		works(t)
	})
	t.Run("daemon, refused", func(t *testing.T) {
		// What it comes back to is not what it left.
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
	t.Run("poweroff", func(t *testing.T) {
		testPowerOff(t, m)
		for i, p := range peers {
			if n := p.Count(dhcppeer.Release); n != 0 {
				t.Errorf("eth%d: %d RELEASEs in the life of the guest", i, n)
			}
		}
	})
}

// askedAgain waits for the guest to ask for the lease that it had, as RFC 2131
// section 4.3.2 has it after a reboot, and returns when it did.
func askedAgain(t *testing.T, s talk, client netip.Addr) time.Time {
	t.Helper()
	m := s.heard(t, dhcppeer.InitReboot)
	if !m.RequestedIPAddress().Equal(client.AsSlice()) || !m.ClientIPAddr.IsUnspecified() || m.ServerIdentifier() != nil || m.Unicast {
		t.Errorf("the guest asked, unicast %t: %s", m.Unicast, m.Summary())
	}
	if got := s.of(dhcppeer.Discover); len(got) > 0 {
		t.Errorf("the guest started over: %q", s.kinds())
	}
	return m.At
}

// ip runs the real ip in the guest, which must succeed, and returns what it says.
func (m *machine) ip(t *testing.T, args ...string) string {
	t.Helper()
	r := m.run(t, append(ip, args...)...)
	if r.Code != 0 {
		t.Fatalf("ip %s: %s", strings.Join(args, " "), r.Stderr)
	}
	return r.Stdout
}

// TestRelease has the host want the leases given back at the end.
func TestRelease(t *testing.T) {
	t.Parallel()
	nics, peers := dhcpPeers(t, time.Hour)
	m := boot(t, image{nics: nics, cmdline: []string{quiet}, shared: map[string]string{
		"etc/arcinit.toml": "[network]\nrelease_on_poweroff = true\n",
	}})
	for i, p := range peers {
		answers(t, &p.Host, leased[i])
	}
	testPowerOff(t, m)
	for i, p := range peers {
		released := talk{Peer: p}.of(dhcppeer.Release)
		if len(released) != 1 {
			t.Fatalf("eth%d: the guest sent %q", i, talk{Peer: p}.kinds())
		}
		r := released[0]
		if !r.ClientIPAddr.Equal(leased[i].AsSlice()) || !r.ServerIdentifier().Equal(p.Addr().AsSlice()) || !r.Unicast || r.From != leased[i] ||
			fmt.Sprintf("%x", r.Options.Get(dhcpv4.OptionClientIdentifier)) != "01"+strings.ReplaceAll(macs[i], ":", "") {
			t.Errorf("eth%d: from %s, unicast %t: %s", i, r.From, r.Unicast, r.Summary())
		}
	}
}

// TestLoss has half of all messages lost, both ways, in 20 exchanges.
func TestLoss(t *testing.T) {
	t.Parallel()
	const rounds, most = 10, 30 * time.Second
	nics, peers := dhcpPeers(t, time.Hour)
	m := boot(t, image{nics: nics, cmdline: []string{quiet}, timeout: 8 * time.Minute})
	for i, p := range peers {
		answers(t, &p.Host, leased[i])
		// A lease that is asked for again is refused for sure; all that follows meets
		// with losses.
		p.Behave(dhcppeer.On(dhcppeer.Refuse, dhcppeer.InitReboot),
			dhcppeer.On(dhcppeer.Lose(0.5), dhcppeer.Discover, dhcppeer.Selecting))
	}
	var took []time.Duration
	discovers := 0
	for range rounds {
		talks := []talk{since(peers[0]), since(peers[1])}
		must[none](t, m, "SetClock", 2*time.Second) // makes it ask
		for i, s := range talks {
			nak := s.sent(t, dhcpv4.MessageTypeNak).At
			eventually(t, func() string {
				if granted(s.Peer).Before(nak) || pinged(t, &s.Host, leased[i]) != nil {
					return fmt.Sprintf("eth%d is not configured after %v; the guest sent %q", i, time.Since(nak), s.kinds())
				}
				return ""
			})
			// With the first ACK that came through; others may have followed.
			acked := s.sent(t, dhcpv4.MessageTypeAck).At
			took = append(took, acked.Sub(nak))
			discovers += len(s.of(dhcppeer.Discover))
		}
	}
	slices.Sort(took)
	t.Logf("%d exchanges took %v; %.1f DISCOVERs each", len(took), took, float64(discovers)/float64(len(took)))
	if longest := took[len(took)-1]; longest > most {
		t.Errorf("the longest took %v", longest)
	}
	// With every message getting through, there would be as many.
	if discovers < 2*len(took) {
		t.Errorf("%d exchanges took %d DISCOVERs: nothing was lost", len(took), discovers)
	}
}
