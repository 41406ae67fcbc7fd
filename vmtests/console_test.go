//go:build vmtest

package vmtests

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/arcinit/arcinit/vmtests/probe"
)

// gate is a reader of the console that stops reading while it is locked.
type gate struct{ sync.Mutex }

func (g *gate) Write(p []byte) (int, error) {
	g.Lock()
	defer g.Unlock()
	return len(p), nil
}

// TestConsoleDoesNotDrain stops the console of a guest whose kernel is quiet, so that PID 1 writes its
// lines there itself: by XOFF, and by a VMM that stops reading. The agent is still restarted when it is
// killed, and the guest powers off, by the button and by a signal.
func TestConsoleDoesNotDrain(t *testing.T) {
	stops := map[string]func(*testing.T, *machine, *gate) (resume func()){
		"XOFF": func(t *testing.T, m *machine, _ *gate) func() {
			if err := m.Type("\x13"); err != nil {
				t.Fatal(err)
			}
			return func() {}
		},
		"VMM": func(t *testing.T, m *machine, g *gate) func() {
			g.Lock()
			// The write fills all buffers between the guest and the VMM, and waits.
			m.tell("WriteFile", struct {
				Path string
				Data []byte
			}{"/dev/console", bytes.Repeat([]byte("filling\n"), 1<<17)})
			return g.Unlock
		},
	}
	requests := map[string]func(*testing.T, *machine){
		"signal": func(_ *testing.T, m *machine) { m.tell("Kill", probe.Signal{PID: 1, Number: 12}) },
		"button": func(t *testing.T, m *machine) {
			if err := m.PowerButton(t.Context()); err != nil {
				t.Fatal(err)
			}
		},
	}
	for name, stop := range stops {
		for by, request := range requests {
			t.Run(name+"/"+by, func(t *testing.T) {
				t.Parallel()
				testBlockedConsole(t, stop, request)
			})
		}
	}
}

func testBlockedConsole(t *testing.T, stop func(*testing.T, *machine, *gate) func(), request func(*testing.T, *machine)) {
	var g gate
	m := boot(t, image{cmdline: []string{quiet}, reader: &g})
	m.waitReport(t)
	waitButton(t, m, 1)
	resume := sync.OnceFunc(stop(t, m, &g))
	defer resume()
	for range 3 {
		before := hostStatus(t, m, "agent")
		m.tell("Kill", probe.Signal{PID: before.PID, Number: 9})
		eventually(t, func() string {
			if now := hostStatus(t, m, "agent"); now.Starts == before.Starts || now.PID == 0 {
				return fmt.Sprintf("the agent was killed and is not started again: %+v", now)
			}
			return ""
		})
	}
	request(t, m)
	eventually(t, func() string {
		if now := hostStatus(t, m, "agent"); now.PID != 0 {
			return fmt.Sprintf("the guest does not power off: the agent is %+v", now)
		}
		return ""
	})
	resume() // the VMM's end is only seen when the console has been read
	m.waitEnd(t, "guest-shutdown")
}

// TestVirtioConsole boots a guest that has virtio devices alone. Its log reaches the
// host without a serial port, until the shutdown.
func TestVirtioConsole(t *testing.T) {
	t.Parallel()
	eachKernel(t, func(t *testing.T, k kernel) {
		m := boot(t, k.on(t, image{virtioConsole: true}))
		comesUp(t, m)
		if got := m.read(t, "/sys/class/tty/console/active"); got != "hvc0\n" {
			t.Errorf("the consoles are %q, want hvc0 alone", got)
		}
		if got := m.read(t, "/proc/cmdline"); strings.Contains(got, "console=tty") {
			t.Errorf("the kernel command line names a serial port: %s", got)
		}
		must[none](t, m, "Say", [2]string{"said on stdout", "said on stderr"})
		for _, pattern := range []string{
			"arcinit: [^\n]* steps", "agent: said on stdout", "agent: said on stderr",
		} {
			m.waitMatch(t, regexp.MustCompile(pattern))
		}
		testPowerOff(t, m)
		if !hasLine(m.ConsoleText(), "arcinit: ", "service=agent ", "end=") {
			t.Error("the console does not show the end of the agent, which belongs to the shutdown")
		}
	})
}

// TestNoConsole boots a guest without a console. The kernel starts /init without standard streams there, and Go starts
// no program that cannot open /dev/null in their place.
func TestNoConsole(t *testing.T) {
	t.Parallel()
	m := boot(t, image{cmdline: []string{"8250.nr_uarts=0"}})
	comesUp(t, m)
	if got := m.read(t, "/proc/consoles"); got != "" {
		t.Errorf("the guest has consoles:\n%s", got)
	}
	testPowerOff(t, m)
}
