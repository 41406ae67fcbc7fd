//go:build vmtest

package vmtests

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/arcinit/arcinit/vmtests/probe"
)

// TestShareHangs has the share's host stop while the agent is to be started from
// it: PID 1 still hears of the power button.
func TestShareHangs(t *testing.T) {
	t.Parallel()
	m := boot(t, image{cmdline: []string{quiet}, shared: map[string]string{"etc/arcinit.toml": "[shutdown]\ngrace = \"2s\"\n"}})
	m.waitReport(t)
	waitButton(t, m, must[probe.AtStart](t, m, "AtStart", none{}).PPID)
	for code := range 7 { // by then the next start is seconds away
		m.crash(t, code)
	}
	m.tell("Exit", 7)
	m.waitConsole(t, `end="code 7"`)
	goOn := stopShare(t, m.dirs["arcbox"])
	select {
	case <-time.After(10 * time.Second): // it is due by now
	case <-m.Ended():
	}
	if err := m.PowerButton(t.Context()); err != nil {
		t.Fatal(err)
	}
	m.waitConsole(t, `shutting down to="power off"`)
	goOn() // QEMU does not end without
	m.waitEnd(t, "guest-shutdown")
}

// stopShare stops the processes that serve a directory, until goOn is called.
func stopShare(t *testing.T, dir string) (goOn func()) {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var stopped []int
	for _, f := range files {
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(f)))
		// It may have ended meanwhile.
		if line, err := os.ReadFile(f); err != nil || pid == os.Getpid() || !bytes.Contains(line, []byte(dir)) {
			continue
		}
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		stopped = append(stopped, pid)
	}
	if len(stopped) == 0 {
		t.Fatalf("nobody serves %s", dir)
	}
	goOn = func() {
		for _, pid := range stopped {
			_ = syscall.Kill(pid, syscall.SIGCONT)
		}
	}
	t.Cleanup(goOn)
	return goOn
}
