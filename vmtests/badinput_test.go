//go:build vmtest

package vmtests

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/arcinit/arcinit/pkg/arcsetup"
	"github.com/arcinit/arcinit/pkg/arcsetup/plan"
	"github.com/arcinit/arcinit/vmtests/guest"
	"github.com/arcinit/arcinit/vmtests/probe"
)

// outcome checks how a step ended, and that its error contains each of names.
func outcome(t *testing.T, m *machine, step, want string, names ...string) {
	t.Helper()
	eventually(t, func() string {
		if len(must[[]string](t, m, "Glob", arcsetup.ReportPath)) == 0 {
			return "the report is not written yet"
		}
		return ""
	})
	checkOutcome(t, steps(t, []byte(m.read(t, arcsetup.ReportPath)))[step], step, want, names...)
}

func checkOutcome(t *testing.T, got plan.Result, step, want string, names ...string) {
	t.Helper()
	if string(got.Outcome) != want {
		t.Errorf("step %s ended %q, want %q: %s", step, got.Outcome, want, got.Error)
	}
	for _, name := range names {
		if !strings.Contains(got.Error, name) {
			t.Errorf("step %s has the error %q, want %s in it", step, got.Error, name)
		}
	}
}

// said waits for a line on the console that contains all the parts.
func said(t *testing.T, m *machine, parts ...string) {
	t.Helper()
	eventually(t, func() string {
		for line := range strings.Lines(m.ConsoleText()) {
			if !slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(line, part) }) {
				return ""
			}
		}
		return fmt.Sprintf("no line on the console has %q", parts)
	})
}

// comesUp waits for the end of the boot and checks that the named steps failed, and
// no others, and that the console names each of them.
func comesUp(t *testing.T, m *machine, failed ...string) {
	t.Helper()
	must[probe.AtStart](t, m, "AtStart", none{})
	var got []string
	eventually(t, func() string {
		r := parseReport(t, []byte(m.read(t, arcsetup.ReportPath)))
		if r.PlanEnded == 0 {
			return "the plan has not ended"
		}
		got = nil
		for _, s := range r.Steps {
			if s.Outcome == plan.Failed {
				got = append(got, s.Step)
			}
		}
		return ""
	})
	slices.Sort(got)
	slices.Sort(failed)
	if !slices.Equal(got, failed) {
		t.Errorf("the steps that failed are %q, want %q", got, failed)
	}
	for _, step := range failed {
		said(t, m, "arcinit: ", step, "outcome=failed")
	}
}

func bothNICs() []guest.NIC { return []guest.NIC{guest.PrimaryNIC(), guest.BridgeNIC()} }

// agentInside is the test agent in the initramfs.
func agentInside(t *testing.T) map[string]string {
	return map[string]string{"/agent": built(t, "arcbox-agent")}
}

// quiet is on the command line of most hosts, since it saves time. Warnings and
// errors must be on the console all the same.
const quiet = "quiet"

func TestNoShare(t *testing.T) {
	t.Parallel()
	m := boot(t, image{noShare: true, tags: []string{"users"}, nics: bothNICs(), executable: agentInside(t),
		cmdline: []string{quiet, "arcbox.agent=/agent"}})
	comesUp(t, m, "share")
	said(t, m, "arcinit: ", "share", "/arcbox", "users") // the error lists the shares that there are
	outcome(t, m, "log", "unavailable")
	outcome(t, m, "users", "ok")
	address(t, m, "eth0", "10.0.2.15/24")
	if files := must[[]string](t, m, "Glob", "/arcbox*"); len(files) != 0 {
		t.Errorf("%v exists without the share", files)
	}
}

func TestNoOptionalShare(t *testing.T) {
	t.Parallel()
	m := boot(t, image{nics: bothNICs(), cmdline: []string{quiet}})
	comesUp(t, m)
	for _, step := range []string{"private", "users", "dax"} {
		outcome(t, m, step, "unavailable", "arcbox")
	}
	for _, path := range []string{"/private", "/Users", "/run/arcbox-dax"} {
		if there := must[[]string](t, m, "Glob", path); len(there) != 0 {
			t.Errorf("%v exists without its share", there)
		}
	}
	for _, r := range must[[]probe.Record](t, m, "KernelLog", none{}) {
		for _, tag := range []string{"private", "users", "dax"} {
			if strings.HasPrefix(r.Text, "arcinit: ") && strings.Contains(r.Text, "step="+tag+" ") && r.Level < 7 {
				t.Errorf("an absent share is logged at level %d: %s", r.Level, r.Text)
			}
		}
	}
}

func TestNoNIC(t *testing.T) {
	t.Parallel()
	m := boot(t, image{tools: true, cmdline: []string{quiet}})
	comesUp(t, m)
	said(t, m, "netd: ", "NIC")
	testRules(t, m, sandboxRules...)
}

func TestOneNIC(t *testing.T) {
	t.Parallel()
	m := boot(t, image{nics: []guest.NIC{guest.PrimaryNIC()}, cmdline: []string{quiet}})
	comesUp(t, m)
	address(t, m, "eth0", "10.0.2.15/24")
}

func TestNoDHCPServer(t *testing.T) {
	t.Parallel()
	m := boot(t, image{nics: []guest.NIC{guest.SilentNIC(), guest.BridgeNIC()}, cmdline: []string{quiet}})
	start := must[probe.AtStart](t, m, "AtStart", none{})
	comesUp(t, m)
	// The agent started before three tries of two seconds had ended, and the other
	// NIC has its address all the same.
	var gaveUp time.Duration
	eventually(t, func() string {
		for _, r := range must[[]probe.Record](t, m, "KernelLog", none{}) {
			if r.Level <= 4 && strings.HasPrefix(r.Text, "netd: ") && strings.Contains(r.Text, "eth0") {
				gaveUp = r.Time
				return ""
			}
		}
		return "no warning about eth0 in the kernel log"
	})
	t.Logf("the agent started at %v, no server had answered by %v", start.Uptime, gaveUp)
	if start.Uptime >= gaveUp {
		t.Errorf("the agent started at %v, want before %v, when no server had answered", start.Uptime, gaveUp)
	}
	address(t, m, "eth1", "192.168.64.15/24")
	said(t, m, "netd: ", "eth0")
	if l := link(must[[]probe.Link](t, m, "Links", none{}), "eth0"); l == nil || !l.Up || len(l.Addresses) != 0 {
		t.Errorf("eth0 is %+v", l)
	}
}

func TestNoAgent(t *testing.T) {
	t.Parallel()
	m := boot(t, image{noAgent: true, nics: bothNICs(), cmdline: []string{quiet}})
	checkOutcome(t, m.waitReport(t)["agent"], "agent", "failed", "/arcbox/bin/arcbox-agent", syscall.ENOENT.Error())
	said(t, m, "arcinit: ", "agent", "/arcbox/bin/arcbox-agent", syscall.ENOENT.Error())
	// It starts as soon as it is there.
	m.installAgent(0o755)
	must[probe.AtStart](t, m, "AtStart", none{})
}

func TestAgentNotExecutable(t *testing.T) {
	t.Parallel()
	m := boot(t, image{noAgent: true, nics: bothNICs(), cmdline: []string{quiet, "arcbox.agent=/arcbox/bin/other"},
		shared: map[string]string{"bin/other": "#!/nowhere\n"}})
	checkOutcome(t, m.waitReport(t)["agent"], "agent", "failed", "/arcbox/bin/other", syscall.EACCES.Error())
	said(t, m, "arcinit: ", "agent", "/arcbox/bin/other", syscall.EACCES.Error())
	m.installAgent(0o755)
	bin := filepath.Join(m.dirs["arcbox"], "bin")
	if err := os.Rename(filepath.Join(bin, "arcbox-agent"), filepath.Join(bin, "other")); err != nil {
		t.Fatal(err)
	}
	must[probe.AtStart](t, m, "AtStart", none{})
}

// TestBrokenFiles has every configuration file broken in its own way.
func TestBrokenFiles(t *testing.T) {
	t.Parallel()
	m := boot(t, image{
		nics: bothNICs(), tools: true,
		cmdline: []string{quiet, "arcbox.hostnam=x", "arcbox.log=loud", "arcbox.primary=eth7", "ARCBOX_VMM_CONFIG=/arcbox/gone.toml"},
		files: map[string]string{
			"/etc/arcbox/vmm.toml":    "[network]\ncidr = \"172.30.0.0/99\"\n",
			"/etc/docker/daemon.json": "{\n  \"debug\": true,\n}\n",
		},
		shared: map[string]string{"etc/arcinit.toml": "hostname = \"x\"\n\nlog = debug\n"},
	})
	comesUp(t, m)
	t.Run("arcinit.toml", func(t *testing.T) {
		said(t, m, "/arcbox/etc/arcinit.toml", "line 3")
		if got := strings.TrimSpace(m.read(t, "/proc/sys/kernel/hostname")); got != "arcbox" {
			t.Errorf("the host name is %q, want the default: the file was refused", got)
		}
	})
	t.Run("daemon.json", func(t *testing.T) {
		said(t, m, "/etc/docker/daemon.json", "line 3")
		if got := m.read(t, "/etc/docker/daemon.json"); !strings.Contains(got, "10.0.2.1") {
			t.Errorf("daemon.json holds %s", got)
		}
		if got := m.read(t, "/etc/docker/daemon.json.refused"); !strings.Contains(got, "debug") {
			t.Errorf("the refused file holds %s", got)
		}
	})
	t.Run("vmm.toml", func(t *testing.T) {
		said(t, m, "/arcbox/gone.toml")
		said(t, m, "/etc/arcbox/vmm.toml", "172.30.0.0/99", "172.20.0.0/16")
		testRules(t, m, sandboxRules...)
	})
	t.Run("unknown key", func(t *testing.T) { said(t, m, "kernel command line", "arcbox.hostnam") })
	t.Run("bad value", func(t *testing.T) { said(t, m, "kernel command line", "arcbox.log", "loud") })
	t.Run("no such NIC", func(t *testing.T) {
		said(t, m, "eth7")
		// The primary NIC is missing, and the first NIC is the bridge.
		address(t, m, "eth0", "10.0.2.15/24")
		defaultRoutes(t, m)
	})
}

// TestDaemonKeys gives [docker.daemon] a value that JSON does not have.
func TestDaemonKeys(t *testing.T) {
	t.Parallel()
	m := boot(t, image{nics: bothNICs(), cmdline: []string{quiet},
		shared: map[string]string{"etc/arcinit.toml": "colour = \"red\"\n[docker.daemon]\nshutdown-timeout = nan\n"}})
	comesUp(t, m)
	said(t, m, "/arcbox/etc/arcinit.toml", "colour")
	said(t, m, "docker.daemon", "NaN")
	if got := m.read(t, "/etc/docker/daemon.json"); !strings.Contains(got, "10.0.2.1") {
		t.Errorf("daemon.json holds %s", got)
	}
}

func TestNoNFTables(t *testing.T) {
	t.Parallel()
	m := boot(t, image{nics: bothNICs(), cmdline: []string{quiet, "module_blacklist=nf_tables"}})
	comesUp(t, m)
	rulesRefused(t, m, "CONFIG_NF_TABLES")
	address(t, m, "eth1", "192.168.64.15/24")
}
