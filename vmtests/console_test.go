//go:build vmtest

package vmtests

import (
	"strings"
	"testing"
)

// TestVirtioConsole boots a guest as a hypervisor presents it that has virtio
// devices alone: what is said in it reaches the host without a serial port.
func TestVirtioConsole(t *testing.T) {
	t.Parallel()
	eachKernel(t, func(t *testing.T, k kernel) {
		m := boot(t, image{kernel: k.image, initrd: k.initrd, virtioConsole: true})
		m.waitConsole(t, "guest is up")
		if got := m.read(t, "/sys/class/tty/console/active"); got != "hvc0\n" {
			t.Errorf("the consoles are %q, want hvc0 alone", got)
		}
		if got := m.read(t, "/proc/cmdline"); strings.Contains(got, "console=tty") {
			t.Errorf("the kernel command line names a serial port: %s", got)
		}
		must[none](t, m, "Say", [2]string{"said on stdout", "said on stderr"})
		for _, text := range []string{"step=layers outcome=ok", "agent: said on stdout", "agent: said on stderr"} {
			m.waitConsole(t, text)
		}
		testPowerOff(t, m)
		m.waitConsole(t, "shutting down")
	})
}
