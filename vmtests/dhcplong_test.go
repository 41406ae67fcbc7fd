//go:build vmtest && full

package vmtests

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/arcinit/arcinit/pkg/arcsetup/netd"
	"github.com/arcinit/arcinit/vmtests/dhcppeer"
	"github.com/arcinit/arcinit/vmtests/guest"
	"github.com/arcinit/arcinit/vmtests/probe"
)

// TestDHCPRenewals renews the leases of four NICs 500 times in all. The guest keeps its addresses all the time, logs each once, and its
// network daemon does not grow.
func TestDHCPRenewals(t *testing.T) {
	t.Parallel()
	const (
		renewals = 500
		settled  = 50               // caches are full
		lease    = 20 * time.Second // long enough for a busy host: T1 is one second
	)
	var nics []guest.NIC
	var peers []*dhcppeer.Peer
	var addresses []netip.Prefix
	for i := range 4 {
		address := fmt.Sprintf("10.9.%d.15/24", i)
		nic, peer := dhcpPeer(t, address, leaseOf(address, lease, soon))
		nics, peers, addresses = append(nics, nic), append(peers, peer), append(addresses, netip.MustParsePrefix(address))
	}
	m := boot(t, image{nics: nics, cmdline: []string{quiet}, timeout: 10 * time.Minute, shared: map[string]string{"etc/arcinit.toml": `
[[network.nic]]
nic = "eth2"
role = "dhcp"
[[network.nic]]
nic = "eth3"
role = "dhcp-no-route"
`}})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var pingers []*pinger
	for i, p := range peers {
		answers(t, &p.Host, addresses[i].Addr())
		pingers = append(pingers, startPinging(ctx, &p.Host, addresses[i].Addr()))
	}
	before := network(t, m)
	early := daemonFigures(t, m, peers, settled, 2*settled)
	late := daemonFigures(t, m, peers, renewals-settled, renewals)
	cancel()
	for i, p := range pingers {
		p.done.Wait()
		p.noneLost(t, time.Now())
		name := fmt.Sprintf("eth%d", i)
		testMessages(t, before[name].MAC, peers[i])
		if now := network(t, m)[name]; now.ConfiguredNS != before[name].ConfiguredNS || !slices.Equal(now.Addresses, addresses[i:i+1]) {
			t.Errorf("%s was configured anew: it has %+v, had %+v", name, now, before[name])
		}
		if got := (talk{Peer: peers[i]}).exchanged()[:2]; peers[i].Count(dhcppeer.Discover) != 1 || got[0] != dhcppeer.Discover || got[1] != dhcppeer.Selecting {
			t.Errorf("%s began with %q and sent %d DISCOVERs, want one", name, got, peers[i].Count(dhcppeer.Discover))
		}
	}
	// The daemon has nothing else to say about a good server.
	if lines := m.netdLines(t, "nic=eth"); len(lines) != len(peers) {
		t.Errorf("%d NICs were configured once, and logged as %q", len(peers), lines)
	}
	compareFigures(t, early, late)
}

// TestDHCPFlaps pulls the cable of a NIC out and plugs it in again each second, 60 times. The lease holds, and the NIC keeps its address. The
// daemon logs no more than one line for each event, and does not grow. The other NIC does not notice.
func TestDHCPFlaps(t *testing.T) {
	t.Parallel()
	const flaps = 60
	nics, peers := dhcpPeers(t, time.Hour)
	m := boot(t, image{nics: nics, cmdline: []string{quiet}, timeout: 5 * time.Minute})
	for i, p := range peers {
		answers(t, &p.Host, leased[i])
	}
	state(t, m, "eth0", netd.StateBound)
	flapping, other := since(peers[0]), since(peers[1])
	before, logged := network(t, m), len(m.netdLines(t, "nic=eth0"))
	var early, late []probe.Process
	half := time.NewTicker(time.Second / 2)
	defer half.Stop()
	for n := range flaps {
		for _, in := range []bool{false, true} {
			<-half.C
			m.plug(t, 0, in)
		}
		switch process := netdProcess(t, m); {
		case n < flaps/6:
			early = append(early, process)
		case n >= flaps-flaps/6:
			late = append(late, process)
		}
	}
	answers(t, &peers[0].Host, leased[0])
	now := state(t, m, "eth0", netd.StateBound)
	if was := before["eth0"]; now.ConfiguredNS != was.ConfiguredNS || !slices.Equal(now.Addresses, was.Addresses) {
		t.Errorf("eth0 was configured anew: it has %+v, had %+v", now, was)
	}
	if l := link(must[[]probe.Link](t, m, "Links", none{}), "eth0"); !slices.Equal(l.Addresses, []string{primaryAddress}) {
		t.Errorf("eth0 has %v, want %s alone", l.Addresses, primaryAddress)
	}
	defaultRoutes(t, m, primaryRoute)
	for _, kind := range flapping.exchanged() {
		if kind != dhcppeer.InitReboot {
			t.Errorf("the guest sent %q, want only requests for the address that it has", kind)
		}
	}
	testMessages(t, macs[0], peers[0])
	if got := other.kinds(); len(got) > 0 || network(t, m)["eth1"].ConfiguredNS != before["eth1"].ConfiguredNS {
		t.Errorf("the other NIC sent %q", got)
	}
	if lines := m.netdLines(t, "nic=eth0")[logged:]; len(lines) > 2*flaps {
		t.Errorf("%d events were logged as %d lines: %q", 2*flaps, len(lines), lines)
	}
	if lines := m.netdLines(t, "address="+primaryAddress); len(lines) != 1 {
		t.Errorf("one lease was logged as %q", lines)
	}
	compareFigures(t, early, late)
}

// daemonFigures returns samples of the network daemon from one number of renewals of all peers to another.
func daemonFigures(t *testing.T, m *machine, peers []*dhcppeer.Peer, from, to int) (samples []probe.Process) {
	t.Helper()
	eventuallyWithin(t, 5*time.Minute, func() string {
		n := 0
		for _, p := range peers {
			n += p.Renewals()
		}
		if n >= from {
			samples = append(samples, netdProcess(t, m))
		}
		if n < to {
			return fmt.Sprintf("%d renewals, want %d", n, to)
		}
		return ""
	})
	return samples
}

// compareFigures fails if the network daemon has grown: if its memory is larger late than it ever was early, by more than Go lets garbage grow, or
// if it never has as few files open or threads late as early. A leak of one file for each event is more than that.
func compareFigures(t *testing.T, early, late []probe.Process) {
	t.Helper()
	// In KiB. Just after the boot the daemon is small, because Go's heap grows to 4 MiB before the first collection.
	const settled, maxGrowth = 6 << 10, 2 << 10
	figures := func(samples []probe.Process) (memory, files, threads int) {
		first := samples[0]
		memory, files, threads = first.RSSAnon, first.FDs, first.Threads
		for _, s := range samples {
			memory, files, threads = max(memory, s.RSSAnon), min(files, s.FDs), min(threads, s.Threads)
		}
		return memory, files, threads
	}
	memory, files, threads := figures(early)
	memoryLate, filesLate, threadsLate := figures(late)
	t.Logf("in %d samples the daemon had %d KiB, %d files and %d threads, and late, in %d samples, %d KiB, %d files and %d threads",
		len(early), memory, files, threads, len(late), memoryLate, filesLate, threadsLate)
	if early[0].PID != late[len(late)-1].PID {
		t.Errorf("the network daemon was process %d, and is %d", early[0].PID, late[len(late)-1].PID)
	}
	if memoryLate > max(memory, settled)+maxGrowth || filesLate > files+1 || threadsLate > threads+2 {
		t.Errorf("the network daemon has grown")
	}
}
