//go:build vmtest

package vmtests

import (
	"fmt"
	"strings"
	"testing"

	"github.com/arcinit/arcinit/vmtests/guest"
	"github.com/arcinit/arcinit/vmtests/probe"
)

// faulty boots the build that panics, once in each process, where the names say.
func faulty(t *testing.T, names ...string) *machine {
	t.Helper()
	host := &hostPort{}
	return boot(t, image{
		initrd: "initramfs-fault.cpio", nics: bothNICs(), ports: []guest.Port{host.port("host")},
		cmdline: []string{quiet, "arcbox.notify=virtio-port:host", "ARCBOX_FAULT=" + strings.ReplaceAll(strings.Join(names, ","), " ", "_")},
	})
}

// TestPanics has everything in PID 1 panic that has a name: a step fails, all
// else is begun again, and nothing is missing in the end.
func TestPanics(t *testing.T) {
	t.Parallel()
	kept := []string{
		"boot", "signals", "log file", "owner socket", "supervisor of agent", "supervisor of netd",
		"output of agent", "output of netd", "power button", "device events", "notify", "report writer",
	}
	m := faulty(t, append(kept, "init", "accounts", "shutdown", "worker eth0")...)
	must[probe.AtStart](t, m, "AtStart", none{})
	m.waitReport(t)
	for _, name := range kept {
		logged(t, m, "arcinit: ", "panic: fault in "+strings.ReplaceAll(name, " ", "_"))
	}
	outcome(t, m, "accounts", "failed", "panic: fault in accounts", ".go:")
	for step, got := range m.waitReport(t) {
		if got.Outcome == "failed" && step != "accounts" {
			t.Errorf("step %s: %s", step, got.Error)
		}
	}
	// The worker of eth0 panicked in each life of netd; its end is netd's, and
	// not the guest's.
	eventually(t, func() string {
		if got := serviceStatus(t, m, "netd"); got.Ends < 3 {
			return fmt.Sprintf("netd is %+v", got)
		}
		return ""
	})
	m.crash(t, 4)
	must[none](t, m, "Say", [2]string{"still heard", ""})
	logged(t, m, "agent: still heard")
	testPowerOff(t, m)
}

// TestPanicInRoles has the other roles of the program panic whenever they begin.
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
	logged(t, m, "netd: panic: fault in netd")
	// The kernel asks for the module of a file system.
	if _, err := ask[none](m, "Mount", probe.MountRequest{Source: "none", Target: "/mnt", FSType: "btrfs"}); err == nil || !strings.Contains(err.Error(), "no such device") {
		t.Errorf("mount a file system of which the module is not loaded: %v", err)
	}
	testPowerOff(t, m)
}
