//go:build vmtest

package vmtests

import (
	"regexp"
	"strings"
	"testing"
)

// TestVirtioConsole boots a guest that has virtio devices alone. Its log reaches the
// host without a serial port, until the shutdown.
func TestVirtioConsole(t *testing.T) {
	t.Parallel()
	eachKernel(t, func(t *testing.T, k kernel) {
		m := boot(t, image{kernel: k.image, initrd: k.initrd, virtioConsole: true})
		comesUp(t, m)
		if got := m.read(t, "/sys/class/tty/console/active"); got != "hvc0\n" {
			t.Errorf("the consoles are %q, want hvc0 alone", got)
		}
		if got := m.read(t, "/proc/cmdline"); strings.Contains(got, "console=tty") {
			t.Errorf("the kernel command line names a serial port: %s", got)
		}
		must[none](t, m, "Say", [2]string{"said on stdout", "said on stderr"})
		for _, pattern := range []string{
			"arcinit: [^\n]*layers[^\n]* outcome=ok", "agent: said on stdout", "agent: said on stderr",
		} {
			m.waitMatch(t, regexp.MustCompile(pattern))
		}
		testPowerOff(t, m)
		if !hasLine(m.ConsoleText(), "arcinit: ", "service=agent ", "end=") {
			t.Error("the console does not show the end of the agent, which belongs to the shutdown")
		}
	})
}
