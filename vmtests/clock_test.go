//go:build vmtest

package vmtests

import (
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/arcinit/arcinit/vmtests/probe"
)

// buildOf returns the time and the version that the images were built with (scripts/built.sh).
func buildOf(t *testing.T) (date time.Time, version string) {
	t.Helper()
	text, err := os.ReadFile(built(t, "built"))
	if err != nil {
		t.Fatal(err)
	}
	seconds, version, _ := strings.Cut(strings.TrimSpace(string(text)), " ")
	n, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return time.Unix(n, 0), version
}

// testClock checks the clock at the agent's start, and how the step clock ended.
func testClock(t *testing.T, m *machine, start probe.AtStart, outcome string) {
	t.Helper()
	if build, _ := buildOf(t); start.Clock.Before(build) {
		t.Errorf("the clock showed %v, before the build time %v", start.Clock.UTC(), build.UTC())
	}
	report := m.waitReport(t)
	clock := report["clock"]
	checkOutcome(t, clock, "clock", outcome)
	if root := report["root"]; clock.End > root.Start {
		t.Errorf("step clock ended at %v, after step root began at %v", clock.End, root.Start)
	}
}

// TestClock boots a machine whose clock was never set.
func TestClock(t *testing.T) {
	t.Parallel()
	for _, initrd := range []string{"initramfs-modules.cpio", "initramfs-uinit.cpio"} {
		t.Run(initrd, func(t *testing.T) {
			m := boot(t, image{initrd: initrd, cmdline: []string{quiet}, qemu: []string{"-rtc", "base=2001-01-01"}})
			start := must[probe.AtStart](t, m, "AtStart", none{})
			testClock(t, m, start, "ok")
			// The clock was set to the build time, not to the host's.
			if build, _ := buildOf(t); start.Clock.After(build.Add(start.Uptime)) {
				t.Errorf("the clock showed %v, want the build time %v plus the uptime at most", start.Clock.UTC(), build.UTC())
			}
		})
	}
}
