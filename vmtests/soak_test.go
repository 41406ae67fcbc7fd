//go:build vmtest && soak

package vmtests

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/arcinit/arcinit/vmtests/probe"
	"github.com/insomniacslk/dhcp/dhcpv4"
)

const (
	soakLength = 30 * time.Minute // unless SOAK says otherwise
	soakLease  = 20 * time.Second // renewed after half of that
	burstEvery = 5 * time.Second
	burst      = 300 // orphans
	// The figures at the end are compared with those at this time, when caches
	// are full, or at a third of the soak if that is earlier.
	soakSettled = 2 * time.Minute
	// The network daemon allocates so little that its heap needs more collections
	// to settle.
	netdSettled = 10 * time.Minute
	sampleEvery = 30 * time.Second
	// The lowest value of each figure in this time, or in a sixth of the soak if
	// that is shorter, is compared. Go collects garbage at least every two minutes
	// (the runtime's forcegcperiod) and returns the memory some time later. A leak
	// does not go away.
	soakWindow = 5 * time.Minute
)

// figures must not grow in a process: its own memory and all that it has mapped, in
// KiB, its threads and its descriptors.
type figures struct {
	RSSAnon, VmRSS, Threads, FDs int
}

var (
	figureNames = []string{"RssAnon", "VmRSS", "threads", "fds"}
	// How much each may grow, if that is more than 10 %. Go starts a thread when
	// one is blocked in the kernel, and a file is open while it is written. A leak
	// grows with each of hundreds of restarts, bursts or renewals.
	figureFloors = []int{0, 0, 1, 1}
)

func (f figures) all() []int { return []int{f.RSSAnon, f.VmRSS, f.Threads, f.FDs} }

// sample holds the figures at a time since the start of the soak.
type sample struct {
	at      time.Duration
	init    figures
	netd    figures
	zombies int
}

// TestSoak runs one guest with everything that happens again and again: an agent
// that ends at once, bursts of orphans, leases that are renewed. PID 1 and the network
// daemon must not have grown at the end.
func TestSoak(t *testing.T) {
	length := soakLength
	if text := os.Getenv("SOAK"); text != "" {
		var err error
		if length, err = time.ParseDuration(text); err != nil {
			t.Fatalf("SOAK=%s: %v", text, err)
		}
	}
	settled, every, window := min(soakSettled, length/3), min(sampleEvery, length/12), min(soakWindow, length/6)

	nics, peers := dhcpPeers(t, soakLease)
	m := boot(t, image{
		nics: nics, timeout: length + 5*time.Minute, noAgent: true,
		shared: map[string]string{"etc/arcinit.toml": "[[service]]\n" +
			"name = \"probe\"\nargv = [\"/arcbox/bin/probe\"]\nrestart = \"always\"\n"},
	})
	m.install(built(t, "arcbox-agent"), "arcbox", "bin/probe", 0o755)
	m.install(crasher(t), "arcbox", "bin/arcbox-agent", 0o755)
	address(t, m, "eth0", primaryAddress)
	address(t, m, "eth1", bridgeAddress)

	forked := forks(t, m)
	start := time.Now()
	ticker := time.NewTicker(burstEvery)
	defer ticker.Stop()
	var samples []sample
	made, took := 0, time.Duration(0)
	var discovers []int // when settled
	for time.Since(start) < length {
		<-ticker.C
		o := must[probe.Orphans](t, m, "Orphans", burst)
		made, took = made+o.Made, took+o.Took
		now := time.Since(start)
		if len(samples) > 0 && now-samples[len(samples)-1].at < every {
			continue
		}
		s := lookAt(t, m)
		s.at = now
		samples = append(samples, s)
		t.Logf("%6v  PID 1 %+v  netd %+v  zombies %d", now.Round(time.Second), s.init, s.netd, s.zombies)
		if discovers == nil && now >= settled {
			for _, p := range peers {
				discovers = append(discovers, p.Received()[dhcpv4.MessageTypeDiscover])
			}
		}
	}

	starts := serviceStatus(t, m, "agent").Starts
	t.Logf("in %v: the agent was started %d times, there were %d orphans (%v each)",
		length, starts, made, (took / time.Duration(made)).Round(time.Microsecond))
	// The pause between two starts is at most 10 s.
	if least := int(length / (20 * time.Second)); starts < least {
		t.Errorf("the agent was started %d times, want at least %d", starts, least)
	}
	for _, end := range []string{"code 3", "signal SIGKILL"} {
		if !hasLine(m.ConsoleText(), "service=agent ", end) {
			t.Errorf("the agent never ended with %s", end)
		}
	}
	if n := forks(t, m) - forked; n < made {
		t.Errorf("the kernel made %d processes, fewer than the %d orphans", n, made)
	}
	for i, p := range peers {
		received := p.Received()
		t.Logf("eth%d: %d renewals; the server received %v", i, p.Renewals(), received)
		if least := int(length / soakLease); p.Renewals() < least {
			t.Errorf("eth%d: %d renewals, want at least %d", i, p.Renewals(), least)
		}
		if n := received[dhcpv4.MessageTypeDiscover]; n != discovers[i] {
			t.Errorf("eth%d: a lease was lost: %d DISCOVERs, %d of them when settled", i, n, discovers[i])
		}
	}

	eventually(t, func() string {
		if s := lookAt(t, m); s.zombies > 0 {
			return fmt.Sprintf("%d zombies are left", s.zombies)
		}
		return ""
	})
	late := between(samples, length-window, 2*length)
	compare(t, "PID 1", between(samples, settled, settled+window), late, func(s sample) figures { return s.init })
	settled = min(netdSettled, length/3)
	compare(t, "netd", between(samples, settled, settled+window), late, func(s sample) figures { return s.netd })
}

// between returns the samples of a time.
func between(samples []sample, from, to time.Duration) (some []sample) {
	for _, s := range samples {
		if from <= s.at && s.at < to {
			some = append(some, s)
		}
	}
	return some
}

// lookAt returns the figures of PID 1 and the network daemon now.
func lookAt(t *testing.T, m *machine) (s sample) {
	t.Helper()
	for _, p := range must[[]probe.Process](t, m, "Processes", none{}) {
		f := figures{RSSAnon: p.RSSAnon, VmRSS: p.VmRSS, Threads: p.Threads, FDs: p.FDs}
		switch {
		case p.PID == 1:
			s.init = f
		case p.PPID == 1 && len(p.Args) > 1 && p.Args[1] == "netd":
			s.netd = f
		case p.State == "Z":
			s.zombies++
		}
	}
	if s.init == (figures{}) || s.netd == (figures{}) {
		t.Fatalf("PID 1 is %+v, the network daemon %+v", s.init, s.netd)
	}
	return s
}

// forks counts the processes and threads that the kernel has made (proc_stat(5)).
func forks(t *testing.T, m *machine) int {
	t.Helper()
	_, rest, found := strings.Cut(m.read(t, "/proc/stat"), "\nprocesses ")
	var n int
	if _, err := fmt.Sscan(rest, &n); err != nil || !found {
		t.Fatalf("/proc/stat has no count of processes: %v", err)
	}
	return n
}

// compare compares the lowest value of each figure late with the lowest early.
func compare(t *testing.T, name string, early, late []sample, of func(sample) figures) {
	t.Helper()
	if len(early) == 0 || len(late) == 0 {
		t.Fatalf("%d samples early and %d late", len(early), len(late))
	}
	lowest := func(samples []sample) []int {
		low := of(samples[0]).all()
		for _, s := range samples[1:] {
			for i, v := range of(s).all() {
				low[i] = min(low[i], v)
			}
		}
		return low
	}
	before, after := lowest(early), lowest(late)
	var b strings.Builder
	table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprintf(table, "%s	from %v	from %v	may be\t\n", name, early[0].at.Round(time.Second), late[0].at.Round(time.Second))
	for i, figure := range figureNames {
		most := before[i] + max(before[i]/10, figureFloors[i])
		_, _ = fmt.Fprintf(table, "%s	%d	%d	%d\t\n", figure, before[i], after[i], most)
		if after[i] > most {
			t.Errorf("%s: %s grew from %d to %d", name, figure, before[i], after[i])
		}
	}
	_ = table.Flush()
	t.Logf("the lowest of the samples:\n%s", b.String())
}

// TestSoakOrphanStorm measures how much longer a killed agent takes to be started
// again among 20,000 orphans. It needs a machine that does nothing else.
func TestSoakOrphanStorm(t *testing.T) {
	_, born, calm := killedAmong(t, 0)
	usual := born - calm.Killed
	_, born, storm := killedAmong(t, 20000)
	delay := born - storm.Killed
	t.Logf("%d orphans in %v; the agent was born again after %v, and after %v without orphans", storm.Made, storm.Took, delay, usual)
	if delay > usual+max(110*time.Millisecond, storm.Took/200) {
		t.Errorf("among orphans the agent was born again %v after it was killed, without them %v after", delay, usual)
	}
}
