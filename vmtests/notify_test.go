//go:build vmtest

package vmtests

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/arcinit/arcinit/vmtests/guest"
	"github.com/arcinit/arcinit/vmtests/probe"
)

// hostPort is a virtio-serial port on which the host hears of the guest's state.
type hostPort struct {
	mu    sync.Mutex
	lines []string
}

func (h *hostPort) port(name string) guest.Port {
	return guest.Port{Name: name, Line: func(line []byte) {
		h.mu.Lock()
		h.lines = append(h.lines, string(line))
		h.mu.Unlock()
	}}
}

func (h *hostPort) heard() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.lines)
}

// lifeOf returns what is wrong with the assignments that a host has heard. There
// must be READY=1 and a status, and after power-off STOPPING=1 at the end.
func lifeOf(heard []string, off bool) (complaint string) {
	ready, stopping := slices.Index(heard, "READY=1"), slices.Index(heard, "STOPPING=1")
	status := slices.ContainsFunc(heard, func(a string) bool { return strings.HasPrefix(a, "STATUS=") && len(a) > len("STATUS=") })
	if ready < 0 || !status || off && stopping < ready || !off && stopping >= 0 {
		return fmt.Sprintf("the host heard %q", heard)
	}
	for _, a := range heard {
		if strings.HasPrefix(a, "ERRNO=") {
			return fmt.Sprintf("the host heard %q", heard)
		}
	}
	return ""
}

// TestNotifyPort has the host listen on a virtio-serial port.
func TestNotifyPort(t *testing.T) {
	t.Parallel()
	host := &hostPort{}
	m := boot(t, image{ports: []guest.Port{host.port("host")}, cmdline: []string{"arcbox.notify=virtio-port:host"}})
	must[probe.AtStart](t, m, "AtStart", none{})
	eventually(t, func() string { return lifeOf(host.heard(), false) })
	testPowerOff(t, m)
	if complaint := lifeOf(host.heard(), true); complaint != "" {
		t.Error(complaint)
	}
}

// TestNotifyAgentMissing boots without an agent. The host hears an error number,
// and READY=1 only once the agent is there.
func TestNotifyAgentMissing(t *testing.T) {
	t.Parallel()
	host := &hostPort{}
	m := boot(t, image{ports: []guest.Port{host.port("host")}, cmdline: []string{"arcbox.notify=virtio-port:host"}, noAgent: true})
	eventually(t, func() string {
		if heard := host.heard(); !slices.Contains(heard, "ERRNO=2") || slices.Contains(heard, "READY=1") {
			return fmt.Sprintf("the host heard %q", heard)
		}
		return ""
	})
	m.installAgent(0o755)
	eventually(t, func() string {
		if heard := host.heard(); !slices.Contains(heard, "READY=1") {
			return fmt.Sprintf("the host heard %q", heard)
		}
		return ""
	})
}

// TestNotifySockets has programs in the guest listen, which start only when the
// guest is up. Vsock to a host is not available here; its loopback (CID 1) uses
// the same system calls.
func TestNotifySockets(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		address string
		listen  probe.Listen
	}{
		{"vsock:1:9999", probe.Listen{Port: 9999}},
		{"unix:/run/host", probe.Listen{Path: "/run/host"}},
	} {
		t.Run(test.address, func(t *testing.T) {
			m := boot(t, image{cmdline: []string{"arcbox.notify=" + test.address}})
			test.listen.File = "/arcbox/heard"
			must[none](t, m, "Listen", test.listen)
			eventually(t, func() string {
				all, _ := heardIn(t, m)
				return lifeOf(all, false)
			})
			testPowerOff(t, m)
			all, messages := heardIn(t, m)
			if complaint := lifeOf(all, true); complaint != "" {
				t.Error(complaint)
			}
			for _, h := range messages {
				// systemd sends from a port that only root can have.
				if test.listen.Port != 0 && (h.Port == 0 || h.Port > 1023) {
					t.Errorf("%q came from port %d", h.Message, h.Port)
				}
			}
		})
	}
}

// heardIn returns what the listener in the guest has heard, as assignments and as
// messages.
func heardIn(t *testing.T, m *machine) (all []string, messages []probe.Heard) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(m.dirs["arcbox"], "heard"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var h probe.Heard
		if !strings.HasSuffix(line, "\n") {
			break // being written
		}
		if err := json.Unmarshal([]byte(line), &h); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		messages = append(messages, h)
		for assignment := range strings.Lines(h.Message) {
			all = append(all, strings.TrimSuffix(assignment, "\n"))
		}
	}
	return all, messages
}
