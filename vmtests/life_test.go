//go:build vmtest

package vmtests

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/arcinit/arcinit/internal/process"
	"github.com/arcinit/arcinit/pkg/arcsetup"
	"github.com/arcinit/arcinit/vmtests/guest"
	"github.com/arcinit/arcinit/vmtests/probe"
)

// logged waits for a record of the kernel log that has all of these in it.
func logged(t *testing.T, m *machine, parts ...string) probe.Record {
	t.Helper()
	var found probe.Record
	eventually(t, func() string {
		log := must[[]probe.Record](t, m, "KernelLog", none{})
		i := slices.IndexFunc(log, func(r probe.Record) bool {
			return !slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(r.Text, part) })
		})
		if i < 0 {
			return fmt.Sprintf("no %q in the kernel log", parts)
		}
		found = log[i]
		return ""
	})
	return found
}

// serviceStatus is what the guest's report says of a service.
func serviceStatus(t *testing.T, m *machine, name string) process.ServiceStatus {
	t.Helper()
	for _, s := range parseReport(t, []byte(m.read(t, arcsetup.ReportPath))).Services {
		if s.Name == name {
			return s
		}
	}
	return process.ServiceStatus{}
}

// processStart is when a process was made, since the kernel's boot: field 22 of
// /proc/PID/stat, in hundredths of a second (proc_pid_stat(5)).
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

// TestLife is what happens to a guest that runs for long.
func TestLife(t *testing.T) {
	t.Parallel()
	m := boot(t, image{cmdline: []string{"loglevel=8"}, shared: map[string]string{"etc/arcinit.toml": `
[[service]]
name = "third"
argv = ["/arcbox/bin/arcbox-agent", "note", "/arcbox/third", "lives", "3"]
restart = "on-failure"
after = ["first", "agent"]
[[service]]
name = "first"
argv = ["/arcbox/bin/arcbox-agent", "note", "/arcbox/first", "lives", "7"]
restart = "never"
[[service]]
name = "second"
argv = ["/arcbox/bin/arcbox-agent", "note", "/arcbox/second", "lives", "0"]
restart = "on-failure"
[[service]]
name = "gone"
argv = ["/arcbox/bin/gone"]
`}})
	start := must[probe.AtStart](t, m, "AtStart", none{})
	t.Run("surroundings", func(t *testing.T) { testSurroundings(t, m, start) })
	t.Run("output", func(t *testing.T) { testOutput(t, m) })
	t.Run("services", func(t *testing.T) { testServices(t, m) })
	t.Run("garbage", func(t *testing.T) { testGarbageSignals(t, m) })
	t.Run("full", func(t *testing.T) { testFullRun(t, m) })
	t.Run("crash loop", func(t *testing.T) { testCrashLoop(t, m) })
	t.Run("killed", func(t *testing.T) { testKilled(t, m) })
	t.Run("poweroff", func(t *testing.T) {
		testPowerOff(t, m)
		log := m.get("log/arcinit.log")
		agent, netd := strings.Index(log, "service stopped service=agent"), strings.Index(log, "service stopped service=netd")
		if agent < 0 || netd < agent {
			t.Errorf("the services were not stopped in reverse:\n%s", log)
		}
		for _, s := range parseReport(t, []byte(m.get("log/boot.json"))).Services {
			if s.PID != 0 {
				t.Errorf("in the last report %s still runs", s.Name)
			}
		}
	})
}

// testSurroundings looks at what the agent is born with.
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

// testOutput has the agent say something.
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
		t.Error("it is in arcinit's own log as well")
	}
}

// testServices looks at the services that arcinit.toml names.
func testServices(t *testing.T, m *machine) {
	// It is started again at once, then after 100 ms, and twice as long each
	// time, as the kernel's own times of the log's lines tell.
	const ms = time.Millisecond
	want := []time.Duration{0, 100 * ms, 200 * ms, 400 * ms, 800 * ms, 1600 * ms}
	var waits []time.Duration
	eventually(t, func() string {
		waits = nil
		var ended time.Duration
		for _, r := range must[[]probe.Record](t, m, "KernelLog", none{}) {
			switch {
			case strings.HasPrefix(r.Text, "arcinit: service ended service=third "):
				ended = r.Time
			case strings.HasPrefix(r.Text, "arcinit: service started service=third ") && ended > 0:
				waits = append(waits, r.Time-ended)
			}
		}
		if len(waits) < len(want) {
			return fmt.Sprintf("third was started again after %v", waits)
		}
		return ""
	})
	var late []time.Duration
	for i, least := range want {
		late = append(late, waits[i]-least)
	}
	if slices.Min(late) < 0 || median(late) > 250*ms {
		t.Errorf("third was started again after %v; want %v, and a little for the start", waits, want)
	}
	if got := serviceStatus(t, m, "third"); got.Starts < 6 || got.LastEnd != "code 3" {
		t.Errorf("third, which is restarted on failure, is %+v", got)
	}
	if got := serviceStatus(t, m, "first"); got.Starts != 1 || got.Ends != 1 || got.LastEnd != "code 7" {
		t.Errorf("first, which is never restarted, is %+v", got)
	}
	if got := serviceStatus(t, m, "second"); got.Starts != 1 || got.Ends != 1 || got.LastEnd != "code 0" {
		t.Errorf("second, which is restarted on failure, is %+v", got)
	}
	if got := serviceStatus(t, m, "gone"); got.Starts != 0 || !strings.Contains(got.LastEnd, "/arcbox/bin/gone: no such file") {
		t.Errorf("gone, of which there is no program, is %+v", got)
	}
	for service, lives := range map[string]int{"first": 1, "second": 1, "third": len(want)} {
		if n := strings.Count(m.get(service), "lives\n"); n < lives || lives == 1 && n > 1 {
			t.Errorf("%s has had %d lives, want %d", service, n, lives)
		}
	}
	outcome(t, m, "services", "failed", "service gone", "no such file")
	// All but the agent and netd were started after those.
	var order []string
	for _, s := range parseReport(t, []byte(m.read(t, arcsetup.ReportPath))).Services {
		order = append(order, s.Name)
	}
	if want := []string{"netd", "agent", "first", "third", "second", "gone"}; !slices.Equal(order, want) {
		t.Errorf("services were started in the order %v, want %v", order, want)
	}
}

// testGarbageSignals sends PID 1 all that mean nothing to it, and what the kernel
// keeps from it.
func testGarbageSignals(t *testing.T, m *machine) {
	before := must[probe.AtStart](t, m, "AtStart", none{})
	meant := []int{2, 10, 12, 15, 30, 37, 38, 39}
	for n := 1; n <= 64; n++ {
		if !slices.Contains(meant, n) {
			must[none](t, m, "Kill", probe.Signal{PID: 1, Number: n})
		}
	}
	// SIGSTOP and SIGKILL were among them: PID 1 is neither gone nor stopped,
	// and does its work.
	processes := must[[]probe.Process](t, m, "Processes", none{})
	if i := slices.IndexFunc(processes, func(p probe.Process) bool { return p.PID == 1 }); i < 0 || processes[i].State == "T" || processes[i].State == "Z" {
		t.Errorf("PID 1 is not among them, or does not run: %+v", processes)
	}
	if after := must[probe.AtStart](t, m, "AtStart", none{}); after.PID != before.PID {
		t.Errorf("the agent was process %d, and is %d", before.PID, after.PID)
	}
	if strings.Contains(m.ConsoleText(), "shutting down") {
		t.Error("a signal without a meaning shuts the guest down")
	}
	m.crash(t, 5) // only a PID 1 that lives starts it again
}

// crash has the agent end with this code, and returns when it has been started
// again.
func (m *machine) crash(t *testing.T, code int) {
	t.Helper()
	start := must[probe.AtStart](t, m, "AtStart", none{})
	m.tell("Exit", code)
	// Until then it takes questions that it does not live to answer.
	m.waitConsole(t, fmt.Sprintf(`service ended service=agent pid=%d end="code %d"`, start.PID, code))
	if again := must[probe.AtStart](t, m, "AtStart", none{}); again.PID == start.PID {
		t.Fatal("the agent has not ended")
	}
}

// testFullRun leaves no room in /run, where the report is kept.
func testFullRun(t *testing.T, m *machine) {
	must[none](t, m, "Fill", "/run/full")
	m.crash(t, 6)
	logged(t, m, "arcinit: boot report", "no space left on device")
	if got := serviceStatus(t, m, "agent"); got.LastEnd == "code 6" {
		t.Error("the report was written: /run was not full")
	}
	must[none](t, m, "Remove", "/run/full")
	m.crash(t, 7)
	eventually(t, func() string {
		if got := serviceStatus(t, m, "agent"); got.LastEnd != "code 7" {
			return fmt.Sprintf("with room again, the report says %+v", got)
		}
		return ""
	})
}

// testCrashLoop ends the agent over and over: each end is counted.
func testCrashLoop(t *testing.T, m *machine) {
	before := serviceStatus(t, m, "agent")
	for range 3 {
		m.crash(t, 9)
	}
	eventually(t, func() string {
		if after := serviceStatus(t, m, "agent"); after.Starts != before.Starts+3 || after.Ends != before.Ends+3 || after.LastEnd != "code 9" {
			return fmt.Sprintf("the report said %+v, and says %+v", before, after)
		}
		return ""
	})
}

// testKilled kills the agent as the kernel would for want of memory.
func testKilled(t *testing.T, m *machine) {
	start := must[probe.AtStart](t, m, "AtStart", none{})
	m.tell("Kill", probe.Signal{PID: start.PID, Number: 9})
	eventually(t, func() string {
		if !strings.Contains(m.ConsoleText(), fmt.Sprintf(`service ended service=agent pid=%d end="signal SIGKILL"`, start.PID)) {
			return "the console does not say how it ended"
		}
		return ""
	})
	if now := must[probe.AtStart](t, m, "AtStart", none{}); now.PID == start.PID {
		t.Error("it is still the same")
	}
}

// TestOrphanStorm has 20,000 orphans come as fast as the kernel can make them, and
// the agent killed in their midst: it is born again hardly later than in a calm.
func TestOrphanStorm(t *testing.T) {
	const orphans = 20000
	_, calm, _ := killedAmong(t, 0)
	m, delay, storm := killedAmong(t, orphans)
	t.Logf("%d orphans in %v; the agent was born again after %v, and after %v in a calm", storm.Made, storm.Took, delay, calm)
	if storm.Made != orphans || storm.Took < 600*time.Millisecond {
		t.Errorf("that was no storm, or the agent was killed after it: %+v", storm)
	}
	// The storm, which mostly takes 20 to 30 s, takes longer on a slow machine, too.
	if delay > calm+max(110*time.Millisecond, storm.Took/200) {
		t.Errorf("the agent was born again %v after it was killed, and %v after in a calm", delay, calm)
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

// killedAmong has the agent of a guest killed among so many orphans, and returns
// how much later the next one was born.
func killedAmong(t *testing.T, orphans int) (m *machine, delay time.Duration, storm probe.Storm) {
	t.Helper()
	m = boot(t, image{cmdline: []string{quiet}})
	must[probe.AtStart](t, m, "AtStart", none{})
	type request struct {
		N    int
		File string
	}
	m.tell("Storm", request{orphans, "/run/storm"})
	m.waitConsole(t, `end="signal SIGKILL"`)
	start := must[probe.AtStart](t, m, "AtStart", none{})
	// It may take for as long as the guest has, 3 minutes.
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
	return m, processStart(t, m, start.PID) - storm.Killed, storm
}

// TestRequests has everything that can ask for the end of the guest do so.
func TestRequests(t *testing.T) {
	t.Parallel()
	signal := func(n int) func(*testing.T, *machine) {
		return func(_ *testing.T, m *machine) { m.tell("Kill", probe.Signal{PID: 1, Number: n}) }
	}
	uinit := func(command string) func(*testing.T, *machine) {
		return func(_ *testing.T, m *machine) {
			m.tell("Run", probe.Command{Argv: []string{arcsetup.ProgramPath, command}})
		}
	}
	ctrlAltDel := func(t *testing.T, m *machine) { m.ctrlAltDel(t) }
	for _, test := range []struct {
		name    string
		request func(*testing.T, *machine)
		ends    string // QEMU's word; empty: it does not end
	}{
		{"USR1", signal(10), ""}, {"USR2", signal(12), "guest-shutdown"}, {"TERM", signal(15), "guest-reset"},
		{"INT", signal(2), "guest-reset"}, {"PWR", signal(30), "guest-shutdown"},
		{"RTMIN+3", signal(37), ""}, {"RTMIN+4", signal(38), "guest-shutdown"}, {"RTMIN+5", signal(39), "guest-reset"},
		{"uinit reboot", uinit("reboot"), "guest-reset"},
		{"ctrl-alt-del", ctrlAltDel, "guest-reset"}, {"ctrl-alt-del under another init", ctrlAltDel, "guest-reset"},
	} {
		t.Run(test.name, func(t *testing.T) {
			im := image{cmdline: []string{quiet}}
			if strings.HasSuffix(test.name, "another init") {
				im.initrd = "initramfs-uinit.cpio"
			}
			m := boot(t, im)
			m.waitReport(t)
			must[none](t, m, "OnTerm", probe.OnTerm{Files: []string{"/arcbox/term"}})
			test.request(t, m)
			if test.ends == "" {
				m.waitConsole(t, "System halted")
				if err := m.Stop(t.Context()); err != nil {
					t.Error(err)
				}
			} else {
				m.waitEnd(t, test.ends)
			}
			if _, err := os.Stat(filepath.Join(m.dirs["arcbox"], "term")); err != nil {
				t.Errorf("the agent was not asked to end: %v", err)
			}
		})
	}
}

// ctrlAltDel presses the keys.
func (m *machine) ctrlAltDel(t *testing.T) {
	t.Helper()
	key := func(name string) map[string]string { return map[string]string{"type": "qcode", "data": name} }
	keys := map[string]any{"keys": []any{key("ctrl"), key("alt"), key("delete")}}
	if _, err := m.QMP(t.Context(), "send-key", keys); err != nil {
		t.Fatal(err)
	}
}

// TestNothingIsLost has the agent write when it is asked to end: to a disk and to
// a share.
func TestNothingIsLost(t *testing.T) {
	t.Parallel()
	disk := ext4Disk(t, t.TempDir(), "data")
	m := boot(t, image{tags: []string{"users"}, disks: []guest.Disk{{File: disk, Writable: true}}, cmdline: []string{quiet}})
	m.waitReport(t)
	// Something is mounted in it, so that it is made read-only in place of
	// being unmounted.
	must[none](t, m, "Mount", probe.MountRequest{Source: "/dev/vda", Target: "/mnt", FSType: "ext4", File: "/mnt/open"})
	must[none](t, m, "Mount", probe.MountRequest{Source: "inner", Target: "/mnt/inner", FSType: "tmpfs"})
	data := []byte(strings.Repeat("the last words\n", 1000))
	must[none](t, m, "OnTerm", probe.OnTerm{Files: []string{"/mnt/last", "/Users/last"}, Data: data})
	testPowerOff(t, m)
	if got, err := os.ReadFile(filepath.Join(m.dirs["users"], "last")); err != nil || string(got) != string(data) {
		t.Errorf("on the share there are %d bytes of %d, %v", len(got), len(data), err)
	}
	// e2fsck finds a file system that was unmounted; debugfs reads the file.
	command(t, "", "e2fsck", "-n", disk)
	copied := filepath.Join(t.TempDir(), "last")
	command(t, "", "debugfs", "-R", "dump /last "+copied, disk)
	if got, err := os.ReadFile(copied); err != nil || string(got) != string(data) {
		t.Errorf("on the disk there are %d bytes of %d, %v", len(got), len(data), err)
	}
	super, err := os.Open(disk)
	if err != nil {
		t.Fatal(err)
	}
	defer super.Close() //nolint:errcheck // only read from
	// s_state is EXT4_VALID_FS when it was cleanly unmounted, and the feature
	// needs_recovery is gone (Documentation/filesystems/ext4/super.rst).
	field := make([]byte, 2)
	if _, err := super.ReadAt(field, 1024+0x3a); err != nil || field[0]&1 == 0 {
		t.Errorf("the file system's state is %v, %v", field, err)
	}
	if _, err := super.ReadAt(field, 1024+0x60); err != nil || field[0]&4 != 0 {
		t.Errorf("the file system's journal is to be recovered: %v, %v", field, err)
	}
}

// TestStuckService has an agent that ignores SIGTERM.
func TestStuckService(t *testing.T) {
	t.Parallel()
	m := boot(t, image{cmdline: []string{quiet}, shared: map[string]string{"etc/arcinit.toml": "[shutdown]\ngrace = \"7s\"\n"}})
	m.waitReport(t)
	must[none](t, m, "OnTerm", probe.OnTerm{Ignore: true})
	agent := fmt.Sprintf("service=agent pid=%d", must[probe.AtStart](t, m, "AtStart", none{}).PID)
	m.tell("Kill", probe.Signal{PID: 1, Number: 12})
	m.waitConsole(t, agent+" waited=5s")
	m.waitEnd(t, "guest-shutdown")
	if log := m.get("log/arcinit.log"); !strings.Contains(log, agent+` end="signal SIGKILL"`) {
		t.Errorf("%s was not killed:\n%s", agent, log)
	}
}

// TestSecondRequest does not wait for the grace, which would outlast the test.
func TestSecondRequest(t *testing.T) {
	t.Parallel()
	m := boot(t, image{cmdline: []string{quiet}, shared: map[string]string{"etc/arcinit.toml": "[shutdown]\ngrace = \"1h\"\n"}})
	m.waitReport(t)
	must[none](t, m, "OnTerm", probe.OnTerm{Ignore: true})
	agent := fmt.Sprintf("service=agent pid=%d", must[probe.AtStart](t, m, "AtStart", none{}).PID)
	m.tell("Kill", probe.Signal{PID: 1, Number: 15})
	m.waitConsole(t, "to=reboot grace=1h0m0s")
	m.tell("Kill", probe.Signal{PID: 1, Number: 12})
	// The last request says how it ends.
	m.waitEnd(t, "guest-shutdown")
	log := m.get("log/arcinit.log")
	for _, want := range []string{`to="power off"`, agent + ` end="signal SIGKILL"`} {
		if !strings.Contains(log, want) {
			t.Errorf("the log has no %q:\n%s", want, log)
		}
	}
}

// TestCannotPowerOff boots a kernel that has no way to cut the power.
func TestCannotPowerOff(t *testing.T) {
	t.Parallel()
	for fallback, ends := range map[string]string{"reboot": "guest-reset", "halt": ""} {
		t.Run(fallback, func(t *testing.T) {
			m := boot(t, image{cmdline: []string{quiet, "acpi=off"},
				shared: map[string]string{"etc/arcinit.toml": "[shutdown]\nwithout_poweroff = \"" + fallback + "\"\n"}})
			m.waitReport(t)
			m.tell("Kill", probe.Signal{PID: 1, Number: 12})
			m.waitConsole(t, "this kernel cannot power off instead="+fallback)
			if ends != "" {
				m.waitEnd(t, ends)
				return
			}
			m.waitConsole(t, "System halted")
			if err := m.Stop(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}
