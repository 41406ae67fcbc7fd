//go:build vmtest

package vmtests

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/arcinit/arcinit/internal/process"
	"github.com/arcinit/arcinit/pkg/arcsetup"
	"github.com/arcinit/arcinit/vmtests/guest"
	"github.com/arcinit/arcinit/vmtests/probe"
)

// logged waits for a record of the kernel log that contains all the parts, which
// are facts: a tag, an attribute, a path, the text of an error number.
func logged(t *testing.T, m *machine, parts ...string) probe.Record {
	t.Helper()
	var found probe.Record
	eventually(t, func() string {
		log := must[[]probe.Record](t, m, "KernelLog", none{})
		i := slices.IndexFunc(log, func(r probe.Record) bool { return hasAll(r.Text, parts...) })
		if i < 0 {
			return fmt.Sprintf("no record of the kernel log has %q", parts)
		}
		found = log[i]
		return ""
	})
	return found
}

// hasAll reports whether the text contains all the parts.
func hasAll(text string, parts ...string) bool {
	return !slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(text, part) })
}

// hasLine reports whether a line of the text contains all the parts.
func hasLine(text string, parts ...string) bool {
	for line := range strings.Lines(text) {
		if hasAll(line, parts...) {
			return true
		}
	}
	return false
}

// serviceStatus returns the status of a service in the guest's report.
func serviceStatus(t *testing.T, m *machine, name string) process.ServiceStatus {
	t.Helper()
	return statusIn(t, m.read(t, arcsetup.ReportPath), name)
}

// hostStatus returns the status of a service in the report on the share, as the
// host reads it: for that no agent has to answer. It is zero before the first report.
func hostStatus(t *testing.T, m *machine, name string) process.ServiceStatus {
	t.Helper()
	report, err := os.ReadFile(filepath.Join(m.dirs["arcbox"], "log/boot.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return process.ServiceStatus{}
	}
	if err != nil {
		t.Fatal(err)
	}
	return statusIn(t, string(report), name)
}

func statusIn(t *testing.T, report, name string) process.ServiceStatus {
	t.Helper()
	for _, s := range parseReport(t, []byte(report)).Services {
		if s.Name == name {
			return s
		}
	}
	return process.ServiceStatus{}
}

// waitRestart waits until the host sees in the report that the agent has ended in
// this way and runs again. It returns the new agent's process ID.
func (m *machine) waitRestart(t *testing.T, old int, end string) (pid int) {
	t.Helper()
	eventually(t, func() string {
		got := hostStatus(t, m, "agent")
		if pid = got.PID; pid == 0 || pid == old || got.LastEnd != end {
			return fmt.Sprintf("the agent, process %d, is to end with %s and to start again; the report has %+v", old, end, got)
		}
		return ""
	})
	return pid
}

// crash ends the agent with this exit code and returns when the next one runs.
func (m *machine) crash(t *testing.T, code int) {
	t.Helper()
	old := must[probe.AtStart](t, m, "AtStart", none{}).PID
	m.tell("Exit", code)
	// The old agent may take a question that it cannot answer any more, so
	// the next question has to wait.
	pid := m.waitRestart(t, old, fmt.Sprintf("code %d", code))
	if got := must[probe.AtStart](t, m, "AtStart", none{}); got.PID != pid {
		t.Errorf("the report has the agent as process %d, the agent itself is %d", pid, got.PID)
	}
}

// TestLife follows a guest from its boot to a press of its power button.
func TestLife(t *testing.T) {
	t.Parallel()
	host := &hostPort{}
	m := boot(t, image{
		ports:   []guest.Port{host.port("host")},
		cmdline: []string{"loglevel=8", "arcbox.notify=virtio-port:host"},
		shared: map[string]string{"etc/arcinit.toml": `
[[service]]
name = "third"
argv = ["/arcbox/bin/arcbox-agent", "note", "/arcbox/third", "3"]
restart = "on-failure"
after = ["first", "agent"]
[[service]]
name = "first"
argv = ["/arcbox/bin/arcbox-agent", "note", "/arcbox/first", "7"]
restart = "never"
[[service]]
name = "second"
argv = ["/arcbox/bin/arcbox-agent", "note", "/arcbox/second", "0"]
restart = "on-failure"
[[service]]
name = "gone"
argv = ["/arcbox/bin/gone"]
`}})
	start := must[probe.AtStart](t, m, "AtStart", none{})
	t.Run("surroundings", func(t *testing.T) { testSurroundings(t, m, start) })
	t.Run("output", func(t *testing.T) { testOutput(t, m) })
	t.Run("services", func(t *testing.T) { testServices(t, m) })
	heard := 0
	t.Run("run again", func(t *testing.T) { heard = testQuietAgain(t, m, host) })
	t.Run("garbage", func(t *testing.T) { testGarbageSignals(t, m) })
	t.Run("full", func(t *testing.T) { testFullRun(t, m) })
	t.Run("crash loop", func(t *testing.T) { testCrashLoop(t, m) })
	t.Run("killed", func(t *testing.T) { testKilled(t, m) })
	t.Run("power button", func(t *testing.T) {
		testPowerButton(t, m)
		log := m.get("log/arcinit.log")
		// The last record of a service is that of its end.
		agent, netd := strings.LastIndex(log, "service=agent "), strings.LastIndex(log, "service=netd ")
		if agent < 0 || netd < agent {
			t.Errorf("the agent, which started last, did not end before the network daemon:\n%s", log)
		}
		if said := host.heard(); len(said) == heard || said[heard] != "STOPPING=1" {
			t.Errorf("after uinit ran again, the host heard %q, want STOPPING=1 first", said[heard:])
		}
	})
}

// testQuietAgain runs uinit again, which must tell the host nothing. It returns how
// many assignments the host had received before.
func testQuietAgain(t *testing.T, m *machine, host *hostPort) (heard int) {
	// A service has failed, so the last assignment of the boot is its error number.
	eventually(t, func() string {
		said := host.heard()
		if heard = len(said); !slices.Contains(said, "READY=1") || !slices.Contains(said, "ERRNO=2") {
			return fmt.Sprintf("the host heard %q", said)
		}
		return ""
	})
	if r := m.run(t, arcsetup.ProgramPath); r.Code != 0 {
		t.Errorf("uinit ended with code %d: %s", r.Code, r.Stderr)
	}
	return heard
}

// testSurroundings checks what the agent inherits.
func testSurroundings(t *testing.T, m *machine, start probe.AtStart) {
	for _, want := range []string{"HOME=/root", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/bbin:/arcbox/bin:/run/arcbox/bin"} {
		if !slices.Contains(start.Environ, want) {
			t.Errorf("the environment is %q, without %s", start.Environ, want)
		}
	}
	proc := fmt.Sprintf("/proc/%d", start.PID)
	if cwd := m.stat(t, proc+"/cwd").Target; cwd != "/" {
		t.Errorf("the working directory is %s", cwd)
	}
	if in := m.stat(t, proc+"/fd/0").Target; in != "/dev/null" {
		t.Errorf("standard input is %s", in)
	}
	for _, fd := range []string{"1", "2"} {
		if out := m.stat(t, proc+"/fd/"+fd).Target; !strings.HasPrefix(out, "pipe:") {
			t.Errorf("descriptor %s is %s", fd, out)
		}
	}
	if got, want := must[[2]int](t, m, "Session", none{}), [2]int{start.PID, start.PID}; got != want {
		t.Errorf("session and process group are %v, want %v", got, want)
	}
}

// testOutput checks where the agent's output goes.
func testOutput(t *testing.T, m *machine) {
	must[none](t, m, "Say", [2]string{"something", "on standard error"})
	for _, want := range []string{"agent: something", "agent: on standard error"} {
		if r := logged(t, m, want); r.Text != want || r.Level != 6 {
			t.Errorf("the kernel log has %+v", r)
		}
		eventually(t, func() string {
			text, _ := os.ReadFile(filepath.Join(m.dirs["arcbox"], "log/services.log"))
			if !strings.Contains(string(text), want+"\n") {
				return fmt.Sprintf("services.log on the share has no %q:\n%s", want, text)
			}
			return ""
		})
	}
	if strings.Contains(m.get("log/arcinit.log"), "agent: something") {
		t.Error("arcinit.log has the agent's output, which belongs to services.log")
	}
}

// testServices checks the services that arcinit.toml names.
func testServices(t *testing.T, m *machine) {
	// PID 1 starts third again at once, then after a pause that doubles each time.
	// Two lives begin at least a pause apart, by the guest's clock.
	const ms = time.Millisecond
	pauses := []time.Duration{0, 100 * ms, 200 * ms, 400 * ms, 800 * ms, 1600 * ms}
	var begun []time.Duration
	eventually(t, func() string {
		if begun = lives(t, m, "third"); len(begun) <= len(pauses) {
			return fmt.Sprintf("third began at %v, want %d times", begun, len(pauses)+1)
		}
		return ""
	})
	for i, pause := range pauses {
		if apart := begun[i+1] - begun[i]; apart < pause {
			t.Errorf("third was started %v after its start number %d, want at least %v", apart, i+1, pause)
		}
	}
	if got := serviceStatus(t, m, "third"); got.Starts < len(pauses) || got.LastEnd != "code 3" {
		t.Errorf("third, restarted on failure, is %+v", got)
	}
	if got := serviceStatus(t, m, "first"); got.Starts != 1 || got.Ends != 1 || got.LastEnd != "code 7" {
		t.Errorf("first, never restarted, is %+v", got)
	}
	if got := serviceStatus(t, m, "second"); got.Starts != 1 || got.Ends != 1 || got.LastEnd != "code 0" {
		t.Errorf("second, restarted on failure, is %+v", got)
	}
	if got := serviceStatus(t, m, "gone"); got.Starts != 0 || !hasAll(got.LastEnd, "/arcbox/bin/gone", "no such file") {
		t.Errorf("gone, which has no program, is %+v", got)
	}
	for _, service := range []string{"first", "second"} {
		if n := len(lives(t, m, service)); n != 1 {
			t.Errorf("%s ran %d times, want once", service, n)
		}
	}
	outcome(t, m, "services", "failed", "gone", "no such file")
	// With one processor, the agent is started before the network daemon; both are before those of the configuration.
	var order []string
	for _, s := range parseReport(t, []byte(m.read(t, arcsetup.ReportPath))).Services {
		order = append(order, s.Name)
	}
	if want := []string{"agent", "netd", "first", "third", "second", "gone"}; !slices.Equal(order, want) {
		t.Errorf("services were started in the order %v, want %v", order, want)
	}
}

// lives returns when the lives of a service began, from its file on the share, as
// times since the kernel's boot.
func lives(t *testing.T, m *machine, service string) (begun []time.Duration) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(m.dirs["arcbox"], service))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return times(t, string(text))
}

// times reads the complete lines of a text, each a number of nanoseconds.
func times(t *testing.T, text string) (all []time.Duration) {
	t.Helper()
	for line := range strings.Lines(text) {
		if !strings.HasSuffix(line, "\n") {
			break // the guest is writing it
		}
		var ns int64
		if _, err := fmt.Sscan(line, &ns); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		all = append(all, time.Duration(ns))
	}
	return all
}

// testGarbageSignals sends PID 1 every signal that has no meaning for it, and those
// that the kernel does not deliver to it.
func testGarbageSignals(t *testing.T, m *machine) {
	before := must[probe.AtStart](t, m, "AtStart", none{})
	meant := []int{2, 10, 12, 15, 30, 37, 38, 39}
	for n := 1; n <= 64; n++ {
		if !slices.Contains(meant, n) {
			must[none](t, m, "Kill", probe.Signal{PID: 1, Number: n})
		}
	}
	// SIGSTOP and SIGKILL were among them.
	processes := must[[]probe.Process](t, m, "Processes", none{})
	if i := slices.IndexFunc(processes, func(p probe.Process) bool { return p.PID == 1 }); i < 0 || processes[i].State == "T" || processes[i].State == "Z" {
		t.Errorf("PID 1 is missing or does not run: %+v", processes)
	}
	if after := must[probe.AtStart](t, m, "AtStart", none{}); after.PID != before.PID {
		t.Errorf("the agent was process %d, and is %d", before.PID, after.PID)
	}
	// Only a PID 1 that works, and is not shutting down, starts the agent again.
	m.crash(t, 5)
}

// testFullRun fills /run, where the report is.
func testFullRun(t *testing.T, m *machine) {
	must[none](t, m, "Fill", "/run/full")
	m.crash(t, 6)
	if r := logged(t, m, "arcinit: ", "boot.json", "no space left on device"); r.Level > 4 {
		t.Errorf("%q has level %d, want a warning or an error", r.Text, r.Level)
	}
	if got := serviceStatus(t, m, "agent"); got.LastEnd == "code 6" {
		t.Error("the report was written: /run was not full")
	}
	must[none](t, m, "Remove", "/run/full")
	m.crash(t, 7)
	eventually(t, func() string {
		if got := serviceStatus(t, m, "agent"); got.LastEnd != "code 7" {
			return fmt.Sprintf("/run has room again, but the report has %+v", got)
		}
		return ""
	})
}

// testCrashLoop ends the agent several times. The report counts each end.
func testCrashLoop(t *testing.T, m *machine) {
	before := serviceStatus(t, m, "agent")
	for range 3 {
		m.crash(t, 9)
	}
	eventually(t, func() string {
		if after := serviceStatus(t, m, "agent"); after.Starts != before.Starts+3 || after.Ends != before.Ends+3 || after.LastEnd != "code 9" {
			return fmt.Sprintf("before three crashes the report had %+v, and has %+v", before, after)
		}
		return ""
	})
}

// testKilled kills the agent, as the kernel does when memory runs out.
func testKilled(t *testing.T, m *machine) {
	old := must[probe.AtStart](t, m, "AtStart", none{}).PID
	m.tell("Kill", probe.Signal{PID: old, Number: 9})
	m.waitRestart(t, old, "signal SIGKILL")
}

// TestOrphanStorm kills the agent while thousands of orphans end. PID 1 must start
// the agent again during the storm, not after it.
func TestOrphanStorm(t *testing.T) {
	const orphans = 10000
	m, born, storm := killedAmong(t, orphans)
	t.Logf("%d orphans from %v to %v; the agent was killed at %v and born again at %v", storm.Made, storm.Began, storm.Began+storm.Took, storm.Killed, born)
	if end := storm.Began + storm.Took; storm.Made != orphans || storm.Killed >= end {
		t.Errorf("the agent was killed at %v, after the storm: %+v", storm.Killed, storm)
	} else if born >= end {
		t.Errorf("the agent was killed at %v, but born again only at %v, when the storm was over (%v)", storm.Killed, born, end)
	}
	eventually(t, func() string {
		for _, p := range must[[]probe.Process](t, m, "Processes", none{}) {
			if p.State == "Z" {
				return fmt.Sprintf("a zombie is left: %+v", p)
			}
		}
		return ""
	})
}

// killedAmong boots a guest and kills its agent among so many orphans. It returns
// when the next agent was born.
func killedAmong(t *testing.T, orphans int) (m *machine, born time.Duration, storm probe.Storm) {
	t.Helper()
	m = boot(t, image{cmdline: []string{quiet}})
	old := must[probe.AtStart](t, m, "AtStart", none{}).PID
	type request struct {
		N    int
		File string
	}
	m.tell("Storm", request{orphans, "/run/storm"})
	// The old agent may take a question that it cannot answer any more.
	m.waitRestart(t, old, "signal SIGKILL")
	pid := must[probe.AtStart](t, m, "AtStart", none{}).PID
	// A storm on a slow machine may take as long as the guest has, 3 minutes.
	eventuallyWithin(t, 3*time.Minute, func() string {
		text, err := ask[[]byte](m, "ReadFile", "/run/storm")
		if err != nil {
			return err.Error()
		}
		if err := json.Unmarshal(text, &storm); err != nil {
			return err.Error()
		}
		return ""
	})
	return m, processStart(t, m, pid), storm
}

// processStart returns when a process was created, since the kernel's boot: field
// 22 of /proc/PID/stat, in hundredths of a second (proc_pid_stat(5)).
func processStart(t *testing.T, m *machine, pid int) time.Duration {
	t.Helper()
	stat := m.read(t, fmt.Sprintf("/proc/%d/stat", pid))
	_, after, _ := strings.Cut(stat, ") ")
	fields := strings.Fields(after)
	if len(fields) < 20 {
		t.Fatalf("/proc/%d/stat: %s", pid, stat)
	}
	var ticks int64
	if _, err := fmt.Sscan(fields[19], &ticks); err != nil {
		t.Fatal(err)
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// TestRequests sends every request for a shutdown, two to each guest. The first
// begins the shutdown, which then waits for an agent that does not end. The second
// ends that wait, and its action is the one that counts.
func TestRequests(t *testing.T) {
	t.Parallel()
	signal := func(n int) func(*testing.T, *machine) {
		return func(_ *testing.T, m *machine) { m.tell("Kill", probe.Signal{PID: 1, Number: n}) }
	}
	reboot := func(_ *testing.T, m *machine) {
		m.tell("Run", probe.Command{Argv: []string{arcsetup.ProgramPath, "reboot"}})
	}
	ctrlAltDel := func(t *testing.T, m *machine) { m.ctrlAltDel(t) }
	for _, test := range []struct {
		name          string
		first, second func(*testing.T, *machine)
		ends          string // QEMU's word; empty: the kernel halts
	}{
		{"USR1 then RTMIN+3", signal(10), signal(37), ""},
		{"PWR then RTMIN+4", signal(30), signal(38), "guest-shutdown"},
		{"USR2 then RTMIN+5", signal(12), signal(39), "guest-reset"},
		{"TERM then USR2", signal(15), signal(12), "guest-shutdown"},
		{"ctrl-alt-del then INT", ctrlAltDel, signal(2), "guest-reset"},
		{"ctrl-alt-del then uinit reboot under another init", ctrlAltDel, reboot, "guest-reset"},
	} {
		t.Run(test.name, func(t *testing.T) {
			im := image{cmdline: []string{quiet}, shared: map[string]string{"etc/arcinit.toml": "[shutdown]\ngrace = \"1h\"\nlimit = \"2h\"\n"}}
			if strings.HasSuffix(test.name, "another init") {
				im.initrd = "initramfs-uinit.cpio"
			}
			m := boot(t, im)
			m.waitReport(t)
			must[none](t, m, "OnTerm", probe.OnTerm{Files: []string{"/arcbox/term"}, Stay: true})
			test.first(t, m)
			eventually(t, func() string {
				if _, err := os.Stat(filepath.Join(m.dirs["arcbox"], "term")); err != nil {
					return fmt.Sprintf("the agent was not asked to end: %v", err)
				}
				return ""
			})
			test.second(t, m)
			if test.ends == "" {
				m.waitConsole(t, "System halted") // the kernel's own words
				if err := m.Stop(t.Context()); err != nil {
					t.Error(err)
				}
			} else {
				m.waitEnd(t, test.ends)
			}
			if got := hostStatus(t, m, "agent"); got.PID != 0 || got.LastEnd != "signal SIGKILL" {
				t.Errorf("in the last report the agent is %+v, want it killed", got)
			}
		})
	}
}

// ctrlAltDel presses ctrl, alt and delete together.
func (m *machine) ctrlAltDel(t *testing.T) {
	t.Helper()
	key := func(name string) map[string]string { return map[string]string{"type": "qcode", "data": name} }
	keys := map[string]any{"keys": []any{key("ctrl"), key("alt"), key("delete")}}
	if _, err := m.QMP(t.Context(), "send-key", keys); err != nil {
		t.Fatal(err)
	}
}

// TestNothingIsLost checks that the agent's last writes, on SIGTERM, reach a disk
// and a share.
func TestNothingIsLost(t *testing.T) {
	t.Parallel()
	disk := ext4Disk(t, t.TempDir(), "data")
	m := boot(t, image{tags: []string{"users"}, disks: []guest.Disk{{File: disk, Writable: true}}, cmdline: []string{quiet}})
	m.waitReport(t)
	// With a mount below it the disk cannot be unmounted, and is made read-only.
	must[none](t, m, "Mount", probe.MountRequest{Source: "/dev/vda", Target: "/mnt", FSType: "ext4", File: "/mnt/open"})
	must[none](t, m, "Mount", probe.MountRequest{Source: "inner", Target: "/mnt/inner", FSType: "tmpfs"})
	data := []byte(strings.Repeat("the last words\n", 1000))
	must[none](t, m, "OnTerm", probe.OnTerm{Files: []string{"/mnt/last", "/Users/last"}, Data: data})
	testPowerOff(t, m)
	if got, err := os.ReadFile(filepath.Join(m.dirs["users"], "last")); err != nil || string(got) != string(data) {
		t.Errorf("the share has %d of %d bytes, %v", len(got), len(data), err)
	}
	// e2fsck accepts a file system that was unmounted; debugfs reads the file.
	command(t, "", "e2fsck", "-n", disk)
	copied := filepath.Join(t.TempDir(), "last")
	command(t, "", "debugfs", "-R", "dump /last "+copied, disk)
	if got, err := os.ReadFile(copied); err != nil || string(got) != string(data) {
		t.Errorf("the disk has %d of %d bytes, %v", len(got), len(data), err)
	}
	testClean(t, disk)
}

// testClean checks that an ext4 file system was unmounted or made read-only.
func testClean(t *testing.T, disk string) {
	t.Helper()
	if !isClean(t, disk) {
		t.Error("the file system was not unmounted, or its journal needs recovery")
	}
	command(t, "", "e2fsck", "-f", "-n", disk)
}

// isClean reports whether an ext4 file system was unmounted or made read-only: s_state is EXT4_VALID_FS, and the feature
// needs_recovery is not set (Documentation/filesystems/ext4/super.rst).
func isClean(t *testing.T, disk string) bool {
	t.Helper()
	f, err := os.Open(disk)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // only read from
	super := make([]byte, 1024)
	if _, err := f.ReadAt(super, 1024); err != nil {
		t.Fatal(err)
	}
	return super[0x3a]&1 != 0 && super[0x60]&4 == 0
}

// TestStuckService has an agent that ignores SIGTERM. PID 1 kills it after the
// grace period.
func TestStuckService(t *testing.T) {
	t.Parallel()
	m := boot(t, image{cmdline: []string{quiet}, shared: map[string]string{"etc/arcinit.toml": "[shutdown]\ngrace = \"7s\"\n"}})
	m.waitReport(t)
	must[none](t, m, "OnTerm", probe.OnTerm{Files: []string{"/arcbox/term"}, Stay: true})
	pid := must[probe.AtStart](t, m, "AtStart", none{}).PID
	m.tell("Kill", probe.Signal{PID: 1, Number: 12})
	m.waitEnd(t, "guest-shutdown")
	// The agent noted the time until it was killed. It may not have run in the
	// last moment of the grace period, so half of that must do.
	noted := times(t, m.get("term"))
	if len(noted) == 0 || noted[len(noted)-1]-noted[0] < 3500*time.Millisecond {
		t.Errorf("the agent was killed before its 7 s were over: it ran at %v", noted)
	}
	if got := hostStatus(t, m, "agent"); got.PID != 0 || got.LastEnd != "signal SIGKILL" {
		t.Errorf("in the last report the agent is %+v", got)
	}
	// While PID 1 waits, it logs for whom, and since when.
	waiting := regexp.MustCompile(fmt.Sprintf(`service=agent pid=%d \w+=\d+s`, pid))
	if log := m.get("log/arcinit.log"); !waiting.MatchString(log) {
		t.Errorf("arcinit.log does not match %q:\n%s", waiting, log)
	}
}

// TestDeafNeighbour has an agent that takes 5 s to end, beside a service that ignores SIGTERM for 8 s. One after the
// other they would take longer than the shutdown may, so they end side by side, and the agent writes its last line.
func TestDeafNeighbour(t *testing.T) {
	t.Parallel()
	m := boot(t, image{cmdline: []string{quiet}, shared: map[string]string{"etc/arcinit.toml": `
[shutdown]
limit = "11s"
[[service]]
name = "deaf"
argv = ["/arcbox/bin/arcbox-agent", "deaf", "/arcbox/deaf"]
grace = "8s"
`}})
	m.waitReport(t)
	eventually(t, func() string {
		if len(lives(t, m, "deaf")) == 0 {
			return "the deaf service does not run"
		}
		return ""
	})
	must[none](t, m, "OnTerm", probe.OnTerm{Wait: 5 * time.Second, Files: []string{"/dev/stdout"}, Data: []byte("the last line\n")})
	before := lives(t, m, "deaf")
	testPowerOff(t, m)
	if log := m.get("log/services.log"); !strings.Contains(log, "agent: the last line\n") {
		t.Errorf("services.log has no last line of the agent:\n%s", log)
	}
	if got := hostStatus(t, m, "agent"); got.LastEnd != "code 0" {
		t.Errorf("the agent is %+v, want it to have ended by itself", got)
	}
	if got := hostStatus(t, m, "deaf"); got.LastEnd != "signal SIGKILL" {
		t.Errorf("the deaf service is %+v, want it killed", got)
	}
	// It may not have run in the last moment of its grace.
	ran := lives(t, m, "deaf")
	if after := ran[len(ran)-1] - before[len(before)-1]; after < 6*time.Second {
		t.Errorf("the deaf service was killed %v after the shutdown began, before its grace of 8 s was over", after)
	}
}

// TestNoS5 boots with ACPI tables that lack S5, the state of a machine that is off, as Firecracker's do. The tables
// are QEMU's with the name changed.
func TestNoS5(t *testing.T) {
	t.Parallel()
	if arch() != "amd64" {
		t.Skip("this guest has no ACPI")
	}
	m := boot(t, image{cmdline: []string{quiet}})
	dsdt := []byte(m.read(t, "/sys/firmware/acpi/tables/DSDT"))
	testPowerOff(t, m)
	at := bytes.Index(dsdt, []byte("_S5_"))
	if at < 0 {
		t.Fatal("QEMU's DSDT has no S5")
	}
	dsdt[at+2] = '6'
	// The kernel takes a table of a higher revision (offset 24, Documentation/admin-guide/acpi/initrd_table_override.rst)
	// whose bytes add up to zero.
	binary.LittleEndian.PutUint32(dsdt[24:], binary.LittleEndian.Uint32(dsdt[24:])+1)
	var sum byte
	for _, b := range dsdt {
		sum += b
	}
	dsdt[9] -= sum
	m = boot(t, image{cmdline: []string{quiet}, early: map[string]string{"kernel/firmware/acpi/dsdt.aml": string(dsdt)}})
	if got := m.read(t, "/sys/firmware/acpi/tables/DSDT"); strings.Contains(got, "_S5_") {
		t.Error("the kernel has QEMU's own table")
	}
	m.waitReport(t)
	m.tell("Kill", probe.Signal{PID: 1, Number: 12})
	m.waitEnd(t, "guest-reset")
}

// TestCannotPowerOff boots a kernel that cannot cut the power. The configuration
// says what it does in place of that.
func TestCannotPowerOff(t *testing.T) {
	t.Parallel()
	for fallback, ends := range map[string]string{"reboot": "guest-reset", "halt": ""} {
		t.Run(fallback, func(t *testing.T) {
			m := boot(t, image{cmdline: []string{quiet, "acpi=off"},
				shared: map[string]string{"etc/arcinit.toml": "[shutdown]\nwithout_poweroff = \"" + fallback + "\"\n"}})
			m.waitReport(t)
			m.tell("Kill", probe.Signal{PID: 1, Number: 12})
			if ends != "" {
				m.waitEnd(t, ends)
				return
			}
			m.waitConsole(t, "System halted") // the kernel's own words
			if err := m.Stop(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}
