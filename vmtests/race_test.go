//go:build vmtest && full

package vmtests

import (
	"strings"
	"testing"

	"github.com/arcinit/arcinit/vmtests/probe"
)

// TestRace boots a uinit with Go's race detector, which reports data races on standard error: PID 1 on the console,
// the network daemon in its log. The agent crashes, uinit runs again, and the power button is pressed.
func TestRace(t *testing.T) {
	t.Parallel()
	m := boot(t, image{initrd: "initramfs-race.cpio", nics: bothNICs(), memory: 2048, cpus: 2})
	init := must[probe.AtStart](t, m, "AtStart", none{}).PPID
	m.waitReport(t)
	m.crash(t, 3)
	for _, args := range [][]string{{}, {"report"}} {
		if r := m.run(t, append([]string{"/run/arcbox/bin/uinit"}, args...)...); r.Code != 0 || strings.Contains(r.Stderr, "DATA RACE") {
			t.Errorf("uinit %q ended with code %d: %s", args, r.Code, r.Stderr)
		}
	}
	waitButton(t, m, init)
	for _, r := range must[[]probe.Record](t, m, "KernelLog", none{}) {
		if strings.Contains(r.Text, "DATA RACE") {
			t.Error("the kernel log has a data race")
		}
	}
	testPowerOff(t, m)
	if strings.Contains(m.ConsoleText()+m.get("log/arcinit.log"), "DATA RACE") {
		t.Error("the console or arcinit.log has a data race")
	}
}
