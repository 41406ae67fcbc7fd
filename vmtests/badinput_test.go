//go:build vmtest

package vmtests

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/arcinit/arcinit/vmtests/guest"
	"github.com/arcinit/arcinit/vmtests/probe"
)

// outcome checks how a step ended, and that its error names what it must.
func outcome(t *testing.T, m *machine, step, want string, names ...string) {
	t.Helper()
	results := steps(t, []byte(m.read(t, "/run/arcbox/boot.json")))
	got, ok := results[step]
	if !ok || string(got.Outcome) != want {
		t.Errorf("step %s ended %q, want %q: %s", step, got.Outcome, want, got.Error)
	}
	for _, name := range names {
		if !strings.Contains(got.Error, name) {
			t.Errorf("step %s says %q, which does not name %s", step, got.Error, name)
		}
	}
}

// said waits until one line on the console has all the parts.
func said(t *testing.T, m *machine, parts ...string) {
	t.Helper()
	eventually(t, func() string {
		for line := range strings.Lines(m.ConsoleText()) {
			all := true
			for _, p := range parts {
				all = all && strings.Contains(line, p)
			}
			if all {
				return ""
			}
		}
		return fmt.Sprintf("no line on the console has %q", parts)
	})
}

// comesUp checks that the guest got as far as it can, with no step failed but
// those named.
func comesUp(t *testing.T, m *machine, failed ...string) {
	t.Helper()
	must[probe.AtStart](t, m, "AtStart", none{})
	want := ""
	if failed != nil {
		want = "failed (" + strings.Join(failed, " ") + ")"
	}
	// The whole line: the rest of it may come later.
	m.waitMatch(t, regexp.MustCompile("guest is up[^\n]*\n"))
	for line := range strings.Lines(m.ConsoleText()) {
		if !strings.Contains(line, "guest is up") {
			continue
		}
		if !strings.Contains(line, want) || failed == nil && strings.Contains(line, "failed") {
			t.Errorf("the console says %q, want %q in it", line, want)
		}
	}
}

func bothNICs() []guest.NIC { return []guest.NIC{guest.PrimaryNIC(), guest.BridgeNIC()} }

// agentInside is the test agent in the initramfs.
func agentInside(t *testing.T) map[string]string {
	return map[string]string{"/agent": built(t, "arcbox-agent")}
}

// quiet is how hosts that care for time boot: what matters must be seen all the
// same.
const quiet = "quiet"

func TestNoShare(t *testing.T) {
	t.Parallel()
	m := boot(t, image{noShare: true, tags: []string{"users"}, nics: bothNICs(), executable: agentInside(t),
		cmdline: []string{quiet, "arcbox.agent=/agent"}})
	comesUp(t, m, "share")
	said(t, m, "share", "/arcbox", "virtiofs shares here are users")
	outcome(t, m, "log", "unavailable")
	outcome(t, m, "users", "ok")
	address(t, m, "eth0", "10.0.2.15/24")
	if files := must[[]string](t, m, "Glob", "/arcbox*"); len(files) != 0 {
		t.Errorf("there is %v where the share should be", files)
	}
}

func TestNoOptionalShare(t *testing.T) {
	t.Parallel()
	m := boot(t, image{nics: bothNICs(), cmdline: []string{quiet}})
	comesUp(t, m)
	for _, step := range []string{"private", "users", "dax"} {
		outcome(t, m, step, "unavailable", "virtiofs shares here are arcbox")
	}
	for _, path := range []string{"/private", "/Users", "/run/arcbox-dax"} {
		if there := must[[]string](t, m, "Glob", path); len(there) != 0 {
			t.Errorf("%v is there for a share that is not", there)
		}
	}
	for _, r := range must[[]probe.Record](t, m, "KernelLog", none{}) {
		for _, tag := range []string{"private", "users", "dax"} {
			if strings.HasPrefix(r.Text, "arcinit: "+tag+" ") && r.Level < 7 {
				t.Errorf("a line of level %d for what is normal: %s", r.Level, r.Text)
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
	// The agent came before three tries of two seconds had ended, and the other
	// NIC has its address all the same.
	gaveUp := logged(t, m, "netd", "eth0", "no DHCP server answers")
	t.Logf("the agent started at %v, no server answered by %v", start.Uptime, gaveUp.Time)
	if start.Uptime >= gaveUp.Time {
		t.Errorf("the agent started at %v, when no server had answered by %v", start.Uptime, gaveUp.Time)
	}
	address(t, m, "eth1", "192.168.64.15/24")
	said(t, m, "netd", "eth0", "no DHCP server answers")
	if l := link(must[[]probe.Link](t, m, "Links", none{}), "eth0"); l == nil || !l.Up || len(l.Addresses) != 0 {
		t.Errorf("eth0 is %+v", l)
	}
}

func TestNoAgent(t *testing.T) {
	t.Parallel()
	m := boot(t, image{noAgent: true, nics: bothNICs(), cmdline: []string{quiet}})
	m.waitConsole(t, "guest is up")
	said(t, m, "agent", "/arcbox/bin/arcbox-agent", "no such file")
	if got := m.waitReport(t)["agent"]; got.Outcome != "failed" || !strings.Contains(got.Error, "/arcbox/bin/arcbox-agent") {
		t.Errorf("step agent is %+v", got)
	}
	// It is waited for.
	m.installAgent(0o755)
	must[probe.AtStart](t, m, "AtStart", none{})
}

func TestAgentNotExecutable(t *testing.T) {
	t.Parallel()
	m := boot(t, image{noAgent: true, nics: bothNICs(), cmdline: []string{quiet, "arcbox.agent=/arcbox/bin/other"},
		shared: map[string]string{"bin/other": "#!/nowhere\n"}})
	m.waitConsole(t, "guest is up")
	said(t, m, "agent", "/arcbox/bin/other", "permission denied")
	if got := m.waitReport(t)["agent"]; got.Outcome != "failed" {
		t.Errorf("step agent is %+v", got)
	}
	m.installAgent(0o755)
	bin := filepath.Join(m.dirs["arcbox"], "bin")
	if err := os.Rename(filepath.Join(bin, "arcbox-agent"), filepath.Join(bin, "other")); err != nil {
		t.Fatal(err)
	}
	must[probe.AtStart](t, m, "AtStart", none{})
}

// TestBrokenFiles has every file that is read broken in its own way.
func TestBrokenFiles(t *testing.T) {
	t.Parallel()
	m := boot(t, image{
		nics: bothNICs(), tools: true,
		cmdline: []string{quiet, "arcbox.colour=red", "arcbox.log=loud", "arcbox.primary=eth7", "ARCBOX_VMM_CONFIG=/arcbox/gone.toml"},
		files: map[string]string{
			"/etc/arcbox/vmm.toml":    "[network]\ncidr = \"172.30.0.0/99\"\n",
			"/etc/docker/daemon.json": "{\n  \"debug\": true,\n}\n",
		},
		shared: map[string]string{"etc/arcinit.toml": "hostname = \"x\"\n\nlog = debug\n"},
	})
	comesUp(t, m)
	t.Run("arcinit.toml", func(t *testing.T) {
		said(t, m, "/arcbox/etc/arcinit.toml", "line 3", "defaults used")
		if got := strings.TrimSpace(m.read(t, "/proc/sys/kernel/hostname")); got != "arcbox" {
			t.Errorf("the host name is %q: half of the file holds", got)
		}
	})
	t.Run("daemon.json", func(t *testing.T) {
		said(t, m, "/etc/docker/daemon.json", "line 3", "default used")
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
	t.Run("unknown key", func(t *testing.T) { said(t, m, "arcbox.colour", "unknown key") })
	t.Run("bad value", func(t *testing.T) { said(t, m, "arcbox.log", "loud") })
	t.Run("no such NIC", func(t *testing.T) {
		said(t, m, "eth7")
		// Which is to be the primary NIC; the bridge one is the first that there is.
		address(t, m, "eth0", "10.0.2.15/24")
		defaultRoutes(t, m)
	})
}

// TestDaemonKeys gives [docker.daemon] values that JSON cannot say.
func TestDaemonKeys(t *testing.T) {
	t.Parallel()
	m := boot(t, image{nics: bothNICs(), cmdline: []string{quiet},
		shared: map[string]string{"etc/arcinit.toml": "colour = \"red\"\n[docker.daemon]\nshutdown-timeout = nan\n"}})
	comesUp(t, m)
	said(t, m, "/arcbox/etc/arcinit.toml", "colour", "unknown key")
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
