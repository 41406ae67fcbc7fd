//go:build vmtest

package vmtests

import (
	"fmt"
	"strings"
	"testing"

	"github.com/arcinit/arcinit/vmtests/guest"
	"github.com/arcinit/arcinit/vmtests/probe"
)

// faulty boots the build that panics where the names say, once in each process. The
// text of such a panic is "fault in NAME", with _ for blanks.
func faulty(t *testing.T, names ...string) *machine {
	t.Helper()
	host := &hostPort{}
	return boot(t, image{
		initrd: "initramfs-fault.cpio", nics: bothNICs(), ports: []guest.Port{host.port("host")},
		cmdline: []string{quiet, "arcbox.notify=virtio-port:host", "ARCBOX_FAULT=" + strings.ReplaceAll(strings.Join(names, ","), " ", "_")},
	})
}

// TestPanics makes every named goroutine of PID 1 panic, and a step. The step fails,
// the goroutines are restarted, and the guest works.
func TestPanics(t *testing.T) {
	t.Parallel()
	kept := []string{
		"boot", "signals", "owner socket", "supervisor of agent", "supervisor of netd",
		"output of agent", "output of netd", "power button", "device events", "notify", "report writer", "log writer",
	}
	m := faulty(t, append(kept, "init", "step accounts", "shutdown", "worker eth0")...)
	must[probe.AtStart](t, m, "AtStart", none{})
	m.waitReport(t)
	for _, name := range kept {
		if r := logged(t, m, "arcinit: ", "fault in "+strings.ReplaceAll(name, " ", "_")); r.Level != 3 {
			t.Errorf("a panic has level %d: %s", r.Level, r.Text)
		}
	}
	outcome(t, m, "accounts", "failed", "fault in step_accounts", ".go:")
	for step, got := range m.waitReport(t) {
		if got.Outcome == "failed" && step != "accounts" {
			t.Errorf("step %s: %s", step, got.Error)
		}
	}
	// The worker of eth0 panics in each life of netd. That ends netd, not the guest.
	eventually(t, func() string {
		if got := serviceStatus(t, m, "netd"); got.Ends < 3 {
			return fmt.Sprintf("netd is %+v", got)
		}
		return ""
	})
	m.crash(t, 4)
	must[none](t, m, "Say", [2]string{"still captured", ""})
	logged(t, m, "agent: still captured")
	testPowerOff(t, m)
}

// TestPanicInRoles makes the other roles of the program panic whenever they begin.
func TestPanicInRoles(t *testing.T) {
	t.Parallel()
	m := faulty(t, "netd", "modprobe")
	must[probe.AtStart](t, m, "AtStart", none{})
	eventually(t, func() string {
		if got := serviceStatus(t, m, "netd"); got.Ends < 3 || got.LastEnd != "code 2" {
			return fmt.Sprintf("netd is %+v", got)
		}
		return ""
	})
	logged(t, m, "netd: ", "fault in netd")
	// The kernel asks for the module of a file system.
	if _, err := ask[none](m, "Mount", probe.MountRequest{Source: "none", Target: "/mnt", FSType: "btrfs"}); err == nil || !strings.Contains(err.Error(), "no such device") {
		t.Errorf("mount a file system whose module cannot be loaded: %v", err)
	}
	testPowerOff(t, m)
}
