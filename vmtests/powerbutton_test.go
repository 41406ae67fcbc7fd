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

// testPowerButton takes the power button away, brings it back, and presses it.
func testPowerButton(t *testing.T, m *machine) {
	t.Helper()
	looksAfter := must[probe.AtStart](t, m, "AtStart", none{}).PPID
	button := waitButton(t, m, looksAfter)
	device := button + "/device/device"
	base := func(link string) string { return path.Base(m.stat(t, link).Target) }
	name, driver := base(device), "/sys/bus/"+base(device+"/subsystem")+"/drivers/"+base(device+"/driver")
	must[none](t, m, "WriteFile", writeFile{Path: driver + "/unbind", Data: []byte(name)})
	eventually(t, func() string {
		if open := inputsOpen(t, m, looksAfter); slices.Contains(open, path.Base(button)) {
			return fmt.Sprintf("%s is gone, but process %d has %v open", button, looksAfter, open)
		}
		return ""
	})
	must[none](t, m, "WriteFile", writeFile{Path: driver + "/bind", Data: []byte(name)})
	waitButton(t, m, looksAfter)
	for _, r := range must[[]probe.Record](t, m, "KernelLog", none{}) {
		if r.Level < 5 && hasAll(r.Text, "arcinit: ", "/dev/input/") {
			t.Errorf("a warning about a button that comes and goes: %s", r.Text)
		}
	}
	pressButton(t, m)
}

// pressButton presses the power button and waits for the guest's end.
func pressButton(t *testing.T, m *machine) {
	t.Helper()
	if err := m.PowerButton(t.Context()); err != nil {
		t.Fatal(err)
	}
	m.waitEnd(t, "guest-shutdown")
	testEnd(t, m)
	if log := m.get("log/arcinit.log"); !hasLine(log, "arcinit: ", "/dev/input/event") {
		t.Errorf("arcinit.log does not name the button's device:\n%s", log)
	}
}

// writeFile is the argument of the agent's WriteFile.
type writeFile struct {
	Path string
	Data []byte
}

// waitButton waits until a process has the power button open, which is ACPI's or a
// key on a GPIO. It returns the device's directory in /sys.
func waitButton(t *testing.T, m *machine, pid int) (button string) {
	t.Helper()
	eventually(t, func() string {
		for _, input := range must[[]string](t, m, "Glob", "/sys/class/input/event*") {
			// The device may be about to go.
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

// TestPowerButtonAtOnce presses the power button again and again from before /init
// on. The guest ends by the first press that it can receive.
func TestPowerButtonAtOnce(t *testing.T) {
	t.Parallel()
	m := boot(t, image{cmdline: []string{quiet}})
	every := time.NewTicker(50 * time.Millisecond)
	defer every.Stop()
	for ended := false; !ended; {
		select {
		case <-m.Ended():
			ended = true
		case <-every.C:
			_ = m.PowerButton(t.Context()) // the guest may have ended
		}
	}
	m.waitEnd(t, "guest-shutdown")
}
