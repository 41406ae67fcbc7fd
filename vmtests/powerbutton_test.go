//go:build vmtest

package vmtests

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/arcinit/arcinit/vmtests/probe"
)

// TestPowerButton presses the button of a guest that is up.
func TestPowerButton(t *testing.T) {
	t.Parallel()
	for _, initrd := range []string{"initramfs-modules.cpio", "initramfs-uinit.cpio"} {
		t.Run(initrd, func(t *testing.T) {
			m := boot(t, image{initrd: initrd, cmdline: []string{quiet}})
			m.waitReport(t)
			start := must[probe.AtStart](t, m, "AtStart", none{})
			button := waitButton(t, m, start.PPID)

			// It goes away and comes back.
			device := button + "/device/device"
			base := func(link string) string { return path.Base(m.stat(t, link).Target) }
			name, driver := base(device), "/sys/bus/"+base(device+"/subsystem")+"/drivers/"+base(device+"/driver")
			must[none](t, m, "WriteFile", writeFile{Path: driver + "/unbind", Data: []byte(name)})
			eventually(t, func() string {
				if open := inputsOpen(t, m, start.PPID); slices.Contains(open, path.Base(button)) {
					return fmt.Sprintf("%s is gone, and still open: %v", button, open)
				}
				return ""
			})
			must[none](t, m, "WriteFile", writeFile{Path: driver + "/bind", Data: []byte(name)})
			waitButton(t, m, start.PPID)

			pressButton(t, m)
		})
	}
}

// pressButton presses the button and waits for the end.
func pressButton(t *testing.T, m *machine) {
	t.Helper()
	if err := m.PowerButton(t.Context()); err != nil {
		t.Fatal(err)
	}
	m.waitEnd(t, "guest-shutdown")
	log := m.get("log/arcinit.log")
	_, after, ok := strings.Cut(log, "device=/dev/input/event")
	if !ok || !strings.Contains(after, `to="power off"`) {
		t.Errorf("the log on the share:\n%s", log)
	}
}

// writeFile is what the agent's WriteFile is told.
type writeFile struct {
	Path string
	Data []byte
}

// waitButton waits for a process to have the power button open, which is ACPI's or
// a key on a GPIO, and returns the device's directory in /sys.
func waitButton(t *testing.T, m *machine, pid int) (button string) {
	t.Helper()
	eventually(t, func() string {
		for _, input := range must[[]string](t, m, "Glob", "/sys/class/input/event*") {
			// It may be one that is about to go.
			name, err := ask[[]byte](m, "ReadFile", input+"/device/name")
			if err == nil && (string(name) == "Power Button\n" || string(name) == "gpio-keys\n") {
				button = input
			}
		}
		if button == "" {
			return "there is no power button"
		}
		if open := inputsOpen(t, m, pid); !slices.Contains(open, path.Base(button)) {
			return fmt.Sprintf("process %d has %v open, not %s", pid, open, button)
		}
		return ""
	})
	return button
}

// inputsOpen lists the input devices that a process has open, such as event0.
func inputsOpen(t *testing.T, m *machine, pid int) (names []string) {
	t.Helper()
	for _, fd := range must[[]string](t, m, "Glob", fmt.Sprintf("/proc/%d/fd/*", pid)) {
		st, err := ask[probe.Stat](m, "Stat", fd)
		if err != nil {
			continue // closed meanwhile
		}
		if name, ok := strings.CutPrefix(st.Target, "/dev/input/"); ok {
			names = append(names, name)
		}
	}
	return names
}

// TestPowerButtonAtOnce presses the button from before /init on, over and over: the
// first press that is heeded is one that comes as soon as a press can be.
func TestPowerButtonAtOnce(t *testing.T) {
	t.Parallel()
	m := boot(t, image{cmdline: []string{quiet}})
	every := time.NewTicker(50 * time.Millisecond)
	defer every.Stop()
	over := time.After(90 * time.Second)
	for ended := false; !ended; {
		select {
		case <-m.Ended():
			ended = true
		case <-over:
			t.Fatal("the guest has not ended")
		case <-every.C:
			_ = m.PowerButton(t.Context()) // QEMU may just have ended
		}
	}
	m.waitEnd(t, "guest-shutdown")
	if !strings.Contains(m.ConsoleText(), `shutting down to="power off"`) {
		t.Error("the guest has not ended by a shutdown")
	}
}
