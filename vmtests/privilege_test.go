//go:build vmtest

package vmtests

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/arcinit/arcinit/internal/process"
	"github.com/arcinit/arcinit/pkg/arcsetup"
	"github.com/arcinit/arcinit/vmtests/probe"
)

// testPrivileges checks what the network daemon may do and holds, on each of its threads, and that PID 1 and the
// agent have all capabilities.
func testPrivileges(t *testing.T, m *machine) {
	pid := daemon(t, m)
	dir := fmt.Sprintf("/proc/%d/", pid)
	threads := must[[]string](t, m, "Glob", dir+"task/*/status")
	if len(threads) < 2 {
		t.Errorf("the network daemon has the threads %v", threads)
	}
	// CAP_NET_BIND_SERVICE is 10, CAP_NET_ADMIN 12, CAP_NET_RAW 13.
	const netOnly, nothing = "0000000000003400", "0000000000000000"
	for _, file := range threads {
		got := privileges(m.read(t, file))
		for field, want := range map[string]string{
			"CapInh": nothing, "CapPrm": netOnly, "CapEff": netOnly, "CapAmb": nothing, "NoNewPrivs": "1",
		} {
			if got[field] != want {
				t.Errorf("%s: %s is %q, want %s", file, field, got[field], want)
			}
		}
	}
	if env := m.read(t, dir+"environ"); env != "" {
		t.Errorf("the network daemon's environment is %q", env)
	}
	// It holds sockets, its output and what Go's poller needs, and no file.
	allowed := regexp.MustCompile(`^(/dev/null|pipe:.*|socket:.*|anon_inode:\[(eventpoll|eventfd|timerfd)\])$`)
	if os.Getenv("ARCINIT_COVER") != "" {
		// In a run of make coverage it also holds the root of the share for its counters.
		allowed = regexp.MustCompile(allowed.String() + `|^/$`)
	}
	for _, fd := range must[[]string](t, m, "Glob", dir+"fd/*") {
		if st, err := ask[probe.Stat](m, "Stat", fd); err == nil && !allowed.MatchString(st.Target) {
			t.Errorf("the network daemon has %s open as %s", st.Target, fd)
		}
	}
	eventually(t, func() string { // a thread may end meanwhile
		all := privileges(m.read(t, "/proc/1/status"))["CapBnd"]
		others := must[[]string](t, m, "Glob", "/proc/1/task/*/status")
		for _, file := range append(others, fmt.Sprintf("/proc/%d/status", must[probe.AtStart](t, m, "AtStart", none{}).PID)) {
			text, err := ask[[]byte](m, "ReadFile", file)
			if err != nil {
				return err.Error()
			}
			got := privileges(string(text))
			if got["CapEff"] != all || got["CapBnd"] != all || all == netOnly || got["NoNewPrivs"] != "0" {
				return fmt.Sprintf("%s has %v, PID 1 %s", file, got, all)
			}
		}
		return ""
	})
}

// privileges returns the fields of a /proc/PID/status.
func privileges(status string) map[string]string {
	fields := map[string]string{}
	for line := range strings.Lines(status) {
		name, value, _ := strings.Cut(line, ":")
		fields[name] = strings.TrimSpace(value)
	}
	return fields
}

// TestHostNetworkContainer has a container on the guest's network: a process with its own process ids and mounts.
func TestHostNetworkContainer(t *testing.T) {
	t.Parallel()
	m := boot(t, image{nics: bothNICs(), cmdline: []string{quiet}})
	comesUp(t, m)
	t.Run("holds the address first", func(t *testing.T) {
		argv := []string{arcsetup.ProgramPath, "poweroff"}
		got := must[probe.Result](t, m, "Squat", probe.Squat{Address: process.OwnerAddress, Argv: argv})
		if got.Code == 0 || got.Stdout != "" || !strings.Contains(got.Stderr, process.OwnerAddress[1:]) {
			t.Errorf("with another process in arcinit's place, uinit poweroff ends with %+v", got)
		}
	})
	before := pidOne(t, m).FDs
	can := must[probe.Flooder](t, m, "Flood", probe.Flood{Address: process.OwnerAddress, PID: daemon(t, m)})
	if can.Listens || can.Signals || len(can.Heard) > 0 {
		t.Errorf("a container could %+v", can)
	}
	for range 5 {
		if got := must[probe.Result](t, m, "Run", probe.Command{Argv: []string{arcsetup.ProgramPath}}); got.Code != 0 {
			t.Errorf("during a flood of connections, uinit ends with %+v", got)
		}
	}
	if after := pidOne(t, m).FDs; after > before+10 {
		t.Errorf("a flood of connections left PID 1 with %d open files, %d before", after, before)
	}
	m.tell("Run", probe.Command{Argv: []string{arcsetup.ProgramPath, "poweroff"}})
	m.waitEnd(t, "guest-shutdown")
}

func pidOne(t *testing.T, m *machine) probe.Process {
	t.Helper()
	for _, p := range must[[]probe.Process](t, m, "Processes", none{}) {
		if p.PID == 1 {
			return p
		}
	}
	t.Fatal("no PID 1")
	return probe.Process{}
}

// TestFilesOthersMayWrite has configuration files that not only root can have written.
func TestFilesOthersMayWrite(t *testing.T) {
	t.Parallel()
	m := boot(t, image{
		nics: bothNICs(), tools: true, cmdline: []string{quiet},
		files:  map[string]string{"/etc/arcbox/vmm.toml": "[network]\ncidr = \"172.30.0.0/16\"\n"},
		shared: map[string]string{"etc/arcinit.toml": "hostname = \"x\"\n[agent]\npath = \"/arcbox/other\"\n"},
		open:   []string{"etc/arcinit.toml", "/etc/arcbox/vmm.toml"},
	})
	comesUp(t, m) // with the usual agent
	said(t, m, "/arcbox/etc/arcinit.toml", "0666")
	said(t, m, "/etc/arcbox/vmm.toml", "0666", "172.20.0.0/16")
	if got := strings.TrimSpace(m.read(t, "/proc/sys/kernel/hostname")); got != "arcbox" {
		t.Errorf("the host name is %q, want the default", got)
	}
	testRules(t, m, sandboxRules...)
}
