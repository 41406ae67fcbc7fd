//go:build vmtest && soak

package vmtests

import (
	"fmt"
	"net/rpc"
	"os"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/arcinit/arcinit/vmtests/guest"
	"github.com/arcinit/arcinit/vmtests/probe"
	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/sys/unix"
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
	// The values of this time, or of a sixth of the soak if that is shorter, are compared.
	soakWindow = 5 * time.Minute
)

// figures must not grow in a process: its own memory and all that it has mapped, in
// KiB, its threads and its descriptors.
type figures struct {
	RSSAnon, VmRSS, Threads, FDs int
}

var (
	figureNames = []string{"RssAnon", "VmRSS", "threads", "fds"}
	// The highest values of memory are compared, because Go lets garbage grow to 4 MiB before it collects it, and returns
	// the memory some time later, or keeps it. The lowest numbers of threads and files are, because some are there for a
	// moment.
	figurePicks = []func(...int) int{highest, highest, lowest, lowest}
	// How much each may grow, if that is more than 10 %. Go starts a thread when
	// one is blocked in the kernel, and a file is open while it is written. A leak
	// grows with each of hundreds of restarts, bursts or renewals.
	figureFloors = []int{0, 0, 1, 1}
)

func (f figures) all() []int { return []int{f.RSSAnon, f.VmRSS, f.Threads, f.FDs} }

func highest(values ...int) int { return slices.Max(values) }
func lowest(values ...int) int  { return slices.Min(values) }

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
	length := soakFor(t)
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
	all := figuresOf(length)
	made, took := 0, time.Duration(0)
	var discovers []int // when settled
	for time.Since(start) < length {
		<-ticker.C
		o := must[probe.Orphans](t, m, "Orphans", burst)
		made, took = made+o.Made, took+o.Took
		now := time.Since(start)
		if all.sample(t, m, now) && discovers == nil && now >= all.settled {
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
	all.compare(t)
}

// soakFor returns how long the soak is to take.
func soakFor(t *testing.T) time.Duration {
	t.Helper()
	text := os.Getenv("SOAK")
	if text == "" {
		return soakLength
	}
	length, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("SOAK=%s: %v", text, err)
	}
	return length
}

// soaked collects the samples of a soak.
type soaked struct {
	length, settled, every, window time.Duration
	samples                        []sample
}

func figuresOf(length time.Duration) *soaked {
	return &soaked{length: length, settled: min(soakSettled, length/3), every: min(sampleEvery, length/12), window: min(soakWindow, length/6)}
}

// sample takes a sample, if the last one is old enough.
func (all *soaked) sample(t *testing.T, m *machine, now time.Duration) (taken bool) {
	t.Helper()
	if n := len(all.samples); n > 0 && now-all.samples[n-1].at < all.every {
		return false
	}
	s := lookAt(t, m)
	s.at = now
	all.samples = append(all.samples, s)
	t.Logf("%6v  PID 1 %+v  netd %+v  zombies %d", now.Round(time.Second), s.init, s.netd, s.zombies)
	return true
}

// compare compares the figures at the end with those of the time when the processes had settled.
func (all *soaked) compare(t *testing.T) {
	t.Helper()
	late, settled := between(all.samples, all.length-all.window, 2*all.length), min(netdSettled, all.length/3)
	compare(t, "PID 1", between(all.samples, all.settled, all.settled+all.window), late, func(s sample) figures { return s.init })
	compare(t, "netd", between(all.samples, settled, settled+all.window), late, func(s sample) figures { return s.netd })
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
	for _, p := range patiently[[]probe.Process](t, m, "Processes", none{}) {
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
	return counter(t, m, "/proc/stat", "processes")
}

// counter reads a number of the kernel's from a file with a name and a number in each line.
func counter(t *testing.T, m *machine, file, name string) (n int) {
	t.Helper()
	_, rest, found := strings.Cut(string(patiently[[]byte](t, m, "ReadFile", file)), "\n"+name+" ")
	if _, err := fmt.Sscan(rest, &n); err != nil || !found {
		t.Fatalf("%s has no %s: %v", file, name, err)
	}
	return n
}

// compare compares the lowest value of each figure late with the lowest early.
func compare(t *testing.T, name string, early, late []sample, of func(sample) figures) {
	t.Helper()
	if len(early) == 0 || len(late) == 0 {
		t.Fatalf("%d samples early and %d late", len(early), len(late))
	}
	pick := func(samples []sample) []int {
		picked := of(samples[0]).all()
		for _, s := range samples[1:] {
			for i, v := range of(s).all() {
				picked[i] = figurePicks[i](picked[i], v)
			}
		}
		return picked
	}
	before, after := pick(early), pick(late)
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
	t.Logf("the highest memory and the lowest numbers of the samples:\n%s", b.String())
}

// stressed are the services of TestSoakStress: what stress-ng exercises in each, in a directory of its own. The second
// fills /run, which has the report, and the third a disk, on which lost+found is there once the disk is mounted. Memory
// is short: the kernel kills processes of stress-ng, and may kill the agent.
var stressed = []struct{ name, dir, stressors string }{
	{"stress", "/tmp", "--vm 2 --vm-bytes 300m --bigheap 1 --fork 2 --fork-max 20 --daemon 1 --zombie 1 --zombie-max 500 --pthread 1 " +
		"--open 1 --sock 1 --kill 1 --sigq 1 --sigrt 1 --sigsegv 1 --sigpipe 1 --sigchld 1 --dev-shm 1"},
	{"fill-run", "/run/arcbox", "--hdd 1 --hdd-bytes 1g --fallocate 1 --fallocate-bytes 1g"},
	{"fill-disk", "/mnt/lost+found", "--hdd 1 --hdd-bytes 1g --fallocate 1 --fallocate-bytes 1g"},
}

// TestSoakStress has stress-ng run for half an hour as a service that is started again every minute: memory runs out,
// file systems are full, and PID 1 gets every signal that asks it for nothing, again and again. The agent answers,
// supervision works, and PID 1 and the network daemon must not have grown at the end.
func TestSoakStress(t *testing.T) {
	length := soakFor(t)
	nics, _ := dhcpPeers(t, soakLease)
	var config strings.Builder
	for _, s := range stressed {
		const dir = "/arcbox/stress/"
		argv := append([]string{dir + "ld.so", "--library-path", dir + "lib", dir + "bin/stress-ng", "--timeout", "60", "--temp-path", s.dir}, strings.Fields(s.stressors)...)
		_, _ = fmt.Fprintf(&config, "[[service]]\nname = %q\nrestart = \"always\"\nkill = \"session\"\nargv = [\"%s\"]\n", s.name, strings.Join(argv, `", "`))
	}
	disk := ext4Disk(t, t.TempDir(), "data")
	m := boot(t, image{
		nics: nics, stress: true, timeout: length + 10*time.Minute, cpus: 2, memory: 768, disks: []guest.Disk{{File: disk, Writable: true}},
		cmdline: []string{quiet, "sysctl.vm.oom_dump_tasks=0"}, shared: map[string]string{"etc/arcinit.toml": config.String()},
	})
	for path, size := range map[string]string{"/run": "size=64m", "/dev/shm": "size=128m"} {
		must[none](t, m, "Mount", probe.MountRequest{Target: path, Flags: unix.MS_REMOUNT | unix.MS_NOSUID | unix.MS_NODEV, Data: size})
	}
	must[none](t, m, "Mount", probe.MountRequest{Source: "/dev/vda", Target: "/mnt", FSType: "ext4"})
	m.waitReport(t)
	forked := forks(t, m)
	start, rounds := time.Now(), 0
	ticker := time.NewTicker(burstEvery)
	defer ticker.Stop()
	for all := figuresOf(length); ; rounds++ {
		<-ticker.C
		patiently[none](t, m, "SendSignals", 100)
		now := time.Since(start)
		if all.sample(t, m, now); now >= length {
			all.compare(t)
			break
		}
	}
	for _, s := range stressed {
		// Only the second start of fill-disk finds the disk, and the others end once a minute.
		if got := serviceStatus(t, m, s.name); got.Starts < max(2, int(length/(2*time.Minute))) {
			t.Errorf("service %s is %+v", s.name, got)
		}
	}
	made, killed := forks(t, m)-forked, counter(t, m, "/proc/vmstat", "oom_kill")
	t.Logf("in %v: %d processes, %d of them killed because memory ran out, %d floods of signals", length, made, killed, rounds)
	if killed == 0 || made < 10*int(length/time.Second) {
		t.Error("that is no stress")
	}
	for _, file := range []string{"/run/full", "/mnt/full"} {
		patiently[none](t, m, "Fill", file)
	}
	old := patiently[probe.AtStart](t, m, "AtStart", none{}).PID
	m.tell("Kill", probe.Signal{PID: old, Number: 9})
	m.waitRestart(t, old, "signal SIGKILL")
	testPowerOff(t, m)
	testClean(t, disk)
}

// patiently asks again when there is no answer: the kernel may have killed the agent, which then answers no more.
func patiently[Reply any](t *testing.T, m *machine, method string, args any) (reply Reply) {
	t.Helper()
	eventuallyWithin(t, 5*time.Minute, func() string {
		var mine Reply
		call := m.agent.Go(probe.Service+"."+method, args, &mine, make(chan *rpc.Call, 1))
		select {
		case <-call.Done:
			if call.Error != nil {
				return fmt.Sprintf("%s(%v): %v", method, args, call.Error)
			}
			reply = mine
			return ""
		case <-m.Ended():
			t.Fatalf("the guest has ended: %v", m.Wait())
		case <-time.After(30 * time.Second):
		}
		return method + ": no answer"
	})
	return reply
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
