//go:build vmtest

package vmtests

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/arcinit/arcinit/pkg/arcsetup"
	"github.com/arcinit/arcinit/vmtests/guest"
	"github.com/arcinit/arcinit/vmtests/probe"
)

// TestShareHangs boots without an agent, which comes later and crashes. Then the
// share's host stops answering while PID 1 starts the agent from it: PID 1 must still
// react to the power button.
func TestShareHangs(t *testing.T) {
	t.Parallel()
	host := &hostPort{}
	// The probe is a service from the initramfs, which does not hang.
	m := boot(t, image{
		noAgent: true, executable: map[string]string{"/probe": built(t, "arcbox-agent")},
		ports:   []guest.Port{host.port("host")},
		cmdline: []string{quiet, "arcbox.notify=virtio-port:host"},
		shared: map[string]string{"etc/arcinit.toml": "[shutdown]\ngrace = \"2s\"\n" +
			"[[service]]\nname = \"probe\"\nargv = [\"/probe\"]\n"},
	})
	waitButton(t, m, must[probe.AtStart](t, m, "AtStart", none{}).PPID)
	t.Run("agent missing", func(t *testing.T) {
		step := m.waitReport(t)["agent"]
		if step.Outcome != "failed" || !hasAll(step.Error, "/arcbox/bin/arcbox-agent", "no such file") {
			t.Errorf("step agent is %+v", step)
		}
		for _, report := range []string{m.get("log/boot.json"), m.read(t, arcsetup.ReportPath)} {
			if r := parseReport(t, []byte(report)); r.PlanEnded == 0 || r.AgentStarted != 0 || strings.Contains(report, "agent_started_ns") {
				t.Errorf("without an agent the report has the plan ended at %v and the agent started at %v", r.PlanEnded, r.AgentStarted)
			}
		}
	})
	m.install(crasher(t), "arcbox", "bin/arcbox-agent", 0o755)
	eventually(t, func() string {
		// After three crashes the next start is seconds away.
		if got := hostStatus(t, m, "agent"); got.Starts < 3 || got.PID != 0 {
			return fmt.Sprintf("the agent is %+v", got)
		}
		return ""
	})
	if r := parseReport(t, []byte(m.get("log/boot.json"))); r.AgentStarted <= r.PlanEnded {
		t.Errorf("the agent came after the boot: the plan ended at %v, the agent started at %v", r.PlanEnded, r.AgentStarted)
	}
	resume := stopShare(t, m.dirs["arcbox"])
	eventually(t, func() string {
		if waits := waitsIn(t, m, 1); !slices.ContainsFunc(waits, func(f string) bool { return hasAll(f, "wait_answer") || hasAll(f, "fuse") }) {
			return fmt.Sprintf("PID 1 does not wait for the share; its threads wait in %q", waits)
		}
		return ""
	})
	if err := m.PowerButton(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string {
		if said := host.heard(); !slices.Contains(said, "STOPPING=1") {
			return fmt.Sprintf("the power button was pressed; the host heard %q", said)
		}
		return ""
	})
	resume() // QEMU does not end while the share's host is stopped
	m.waitEnd(t, "guest-shutdown")
}

// TestShareStopsDuringBoot stops the host of the share arcbox while the guest waits for a root that never
// comes. Then the guest goes on in the initramfs without the share's answers, and says which steps wait for which
// share. When the host is back the boot is put right.
func TestShareStopsDuringBoot(t *testing.T) {
	t.Parallel()
	host := &hostPort{}
	m := boot(t, image{
		nics: bothNICs(), ports: []guest.Port{host.port("host")},
		cmdline: []string{quiet, "arcbox.notify=virtio-port:host", "root=/dev/nowhere", "rootwait=15"},
	})
	m.waitMatch(t, awaitsRoot)
	resume := stopShare(t, m.dirs["arcbox"])
	late := []string{"config", "machineid", "agent"}
	for _, step := range late {
		m.waitMatch(t, regexp.MustCompile("step="+step+"[^\\n]* outcome=failed[^\\n]* share "))
	}
	if said := host.heard(); slices.Contains(said, "READY=1") {
		t.Errorf("the agent is on a share that does not answer, and the host heard %q", said)
	}
	resume()
	eventually(t, func() string {
		if said := host.heard(); !slices.Contains(said, "READY=1") {
			return fmt.Sprintf("the share answers again; the host heard %q", said)
		}
		return ""
	})
	eventually(t, func() string {
		results := steps(t, []byte(m.read(t, arcsetup.ReportPath)))
		for _, step := range late {
			if r := results[step]; r.Outcome == "failed" || r.Error != "" {
				return fmt.Sprintf("the share answers again, and step %s is %+v", step, r)
			}
		}
		return ""
	})
	testPowerOff(t, m)
}

// awaitsRoot is the line by which a guest says that it has waited for its root for long.
var awaitsRoot = regexp.MustCompile(`for="?root=/dev/nowhere`)

// TestShareHangsAtPowerOff stops the host of the share for good, and presses the power button. The root, an ext4, is
// clean, and the guest asks the kernel for power-off within its limit of 25 s.
func TestShareHangsAtPowerOff(t *testing.T) {
	t.Parallel()
	disk := ext4Disk(t, t.TempDir(), "root")
	m := boot(t, image{
		disks: []guest.Disk{{File: disk, Writable: true}}, cmdline: []string{"root=/dev/vda", "rw"},
	})
	waitButton(t, m, must[probe.AtStart](t, m, "AtStart", none{}).PPID)
	m.waitReport(t)
	must[none](t, m, "WriteFile", writeFile{"/written", []byte("hello")})
	_ = stopShare(t, m.dirs["arcbox"])
	if err := m.PowerButton(t.Context()); err != nil {
		t.Fatal(err)
	}
	// The kernel prints the guest's time before each line. After the last one QEMU itself waits for the share's host,
	// and answers nobody any more.
	testInTime(t, m)
	testClean(t, disk)
}

// testInTime checks that a guest asks the kernel for power-off within 25 s of its own time.
func testInTime(t *testing.T, m *machine) {
	t.Helper()
	begin := seconds(t, m, "shutting down ")
	took := seconds(t, m, "asking the kernel ") - begin
	t.Logf("the shutdown took %.1f s of the guest's time", took)
	if took > 25 {
		t.Error("the shutdown took longer than 25 s")
	}
}

// seconds waits for a line of PID 1 in the kernel log, and returns the guest's time of it.
func seconds(t *testing.T, m *machine, line string) (at float64) {
	t.Helper()
	match := m.waitMatch(t, regexp.MustCompile(`\[ *([0-9.]+)\] arcinit: [^\n]*`+line))
	at, err := strconv.ParseFloat(match[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// TestRootIsAwaited has a guest wait for its root for ever. Its networks come up, and it hears the power button.
func TestRootIsAwaited(t *testing.T) {
	t.Parallel()
	nics, peers := dhcpPeers(t, time.Hour)
	m := boot(t, image{nics: nics, cmdline: []string{quiet, "root=/dev/nowhere", "rootwait"}})
	m.waitMatch(t, awaitsRoot)
	for i, p := range peers {
		answers(t, &p.Host, leased[i])
	}
	if err := m.PowerButton(t.Context()); err != nil {
		t.Fatal(err)
	}
	m.waitEnd(t, "guest-shutdown")
}

// waitsIn returns the kernel functions that the threads of a process wait in
// (proc_pid_wchan(5)).
func waitsIn(t *testing.T, m *machine, pid int) (functions []string) {
	t.Helper()
	for _, file := range must[[]string](t, m, "Glob", fmt.Sprintf("/proc/%d/task/*/wchan", pid)) {
		if f, err := ask[[]byte](m, "ReadFile", file); err == nil { // the thread may have ended
			functions = append(functions, string(f))
		}
	}
	return functions
}

// stopShare stops the processes that serve a directory. resume continues them.
func stopShare(t *testing.T, dir string) (resume func()) {
	t.Helper()
	return signalShare(t, dir, syscall.SIGSTOP)
}

// signalShare sends a signal to the processes that serve a directory. resume continues those that it has stopped.
func signalShare(t *testing.T, dir string, sig syscall.Signal) (resume func()) {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var stopped []int
	for _, f := range files {
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(f)))
		// The process may have ended.
		if line, err := os.ReadFile(f); err != nil || pid == os.Getpid() || !bytes.Contains(line, []byte(dir)) {
			continue
		}
		if err := syscall.Kill(pid, sig); err != nil {
			t.Fatal(err)
		}
		stopped = append(stopped, pid)
	}
	if len(stopped) == 0 {
		t.Fatalf("no process serves %s", dir)
	}
	resume = func() {
		for _, pid := range stopped {
			_ = syscall.Kill(pid, syscall.SIGCONT)
		}
	}
	t.Cleanup(resume)
	return resume
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
