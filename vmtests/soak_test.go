//go:build vmtest && soak

package vmtests

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
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
	// have filled, or at a third of a soak that is shorter than three times that.
	soakSettled = 2 * time.Minute
	// The network daemon allocates so little that its heap takes some collections
	// more to find its level.
	netdSettled = 10 * time.Minute
	sampleEvery = 30 * time.Second
	// What is compared is the lowest of each figure in so long a time, or a sixth
	// of the soak: Go collects garbage every two minutes at the latest (the
	// runtime's forcegcperiod), and gives the memory back at leisure. A leak does
	// not go away.
	soakWindow = 5 * time.Minute
)

// figures are what must not grow in a process: the memory of its own and all that
// is mapped, in KiB, its threads and its descriptors.
type figures struct {
	RSSAnon, VmRSS, Threads, FDs int
}

var (
	figureNames = []string{"RssAnon", "VmRSS", "threads", "fds"}
	// By how much each may grow where that is more than 10 %: Go starts a thread where
	// one is held up in the kernel, and a file may be open while it is written. A
	// leak comes with every restart, burst or renewal, and is a hundred of them.
	figureFloors = []int{0, 0, 1, 1}
)

func (f figures) all() []int { return []int{f.RSSAnon, f.VmRSS, f.Threads, f.FDs} }

// sample is how the guest was at a time since the start of the soak.
type sample struct {
	at      time.Duration
	init    figures
	netd    figures
	zombies int
}

// TestSoak has one guest live through everything that comes again and again: an
// agent that ends at once, orphans in bursts, leases that are renewed. PID 1 and
// the network daemon must be no larger at the end.
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
	m.install(built(t, "arcbox-agent"), "probe", 0o755)
	m.install(crasher(t), "arcbox-agent", 0o755)
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

	// All that was to wear the guest out has happened.
	starts := serviceStatus(t, m, "agent").Starts
	t.Logf("in %v: the agent was started %d times, there were %d orphans (%v each)",
		length, starts, made, (took / time.Duration(made)).Round(time.Microsecond))
	// Its pauses are 10 s at most.
	if least := int(length / (20 * time.Second)); starts < least {
		t.Errorf("the agent was started %d times, want at least %d", starts, least)
	}
	for _, end := range []string{`end="code 3"`, `end="signal SIGKILL"`} {
		if !strings.Contains(m.ConsoleText(), end) {
			t.Errorf("the agent never ended with %s", end)
		}
	}
	if n := forks(t, m) - forked; n < made {
		t.Errorf("%d processes were made, and %d orphans among them", n, made)
	}
	for i, p := range peers {
		received := p.Received()
		t.Logf("eth%d: %d renewals; the server received %v", i, p.Renewals(), received)
		if least := int(length / soakLease); p.Renewals() < least {
			t.Errorf("eth%d: %d renewals, want at least %d", i, p.Renewals(), least)
		}
		if n := received[dhcpv4.MessageTypeDiscover]; n != discovers[i] {
			t.Errorf("eth%d: a lease was lost: %d DISCOVERs, and %d when settled", i, n, discovers[i])
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

// between are the samples of a time.
func between(samples []sample, from, to time.Duration) (some []sample) {
	for _, s := range samples {
		if from <= s.at && s.at < to {
			some = append(some, s)
		}
	}
	return some
}

// crasher builds the agent that ends at once.
func crasher(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "crasher")
	build := exec.Command("go", "build", "-o", program, "./crasher")
	build.Env = append(os.Environ(), "GOARCH="+arch(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the crasher: %v\n%s", err, out)
	}
	return program
}

// lookAt has the probe look at PID 1 and the network daemon.
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

// forks is how many processes and threads the kernel has made (proc_stat(5)).
func forks(t *testing.T, m *machine) int {
	t.Helper()
	_, rest, found := strings.Cut(m.read(t, "/proc/stat"), "\nprocesses ")
	var n int
	if _, err := fmt.Sscan(rest, &n); err != nil || !found {
		t.Fatalf("/proc/stat has no count of processes: %v", err)
	}
	return n
}

// compare compares the lowest of each figure late with the lowest early.
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
			t.Errorf("%s: %s was %d, and is %d", name, figure, before[i], after[i])
		}
	}
	_ = table.Flush()
	t.Logf("the lowest of the samples:\n%s", b.String())
}
