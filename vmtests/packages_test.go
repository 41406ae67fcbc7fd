//go:build vmtest

package vmtests

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/arcinit/arcinit/vmtests/probe"
)

// TestPackagesInGuest runs the packages' own tests that mount, change the
// network, or have devices send events, as root of a guest. Some of them look how
// long things take: nothing else is run beside them.
func TestPackagesInGuest(t *testing.T) {
	m := boot(t, image{tools: true, cpus: 2, timeout: 15 * time.Minute})
	for _, path := range []string{"arcsetup", "arcsetup/netd", "arcsetup/uevent"} {
		program := packageTests(t, m, path)
		t.Run(filepath.Base(path), func(t *testing.T) { runPackageTests(t, m, program, "iptables") })
	}
}

// TestFirewallInGuest runs the firewall's own tests beside the real iptables, each
// version that there is.
func TestFirewallInGuest(t *testing.T) {
	t.Parallel()
	m := boot(t, image{tools: true, timeout: 15 * time.Minute})
	program := packageTests(t, m, "arcsetup/firewall")
	dirs := must[[]string](t, m, "Glob", "/arcbox/tools/iptables*")
	versions := map[string]bool{}
	for _, dir := range dirs {
		name := filepath.Base(dir)
		version := strings.TrimSpace(m.run(t, tool(name, "xtables-nft-multi", "iptables", "--version")...).Stdout)
		versions[version] = true
		t.Run(version, func(t *testing.T) { runPackageTests(t, m, program, name) })
	}
	if len(versions) < 2 {
		t.Errorf("tried with %v: that is no more than one version of iptables", versions)
	}
}

// packageTests builds the tests of a package in pkg onto the share, and returns
// what they are in the guest.
func packageTests(t *testing.T, m *machine, path string) (program string) {
	t.Helper()
	name := filepath.Base(path) + ".test"
	build := exec.Command("go", "test", "-c", "-tags", "guesttest", "-o", filepath.Join(m.dirs["arcbox"], name), "../pkg/"+path)
	build.Env = append(os.Environ(), "GOARCH="+arch(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the tests: %v\n%s", err, out)
	}
	return "/arcbox/" + name
}

// runPackageTests runs them with the iptables that is laid out under this name.
func runPackageTests(t *testing.T, m *machine, program, iptables string) {
	t.Helper()
	r := must[probe.Result](t, m, "Run", probe.Command{
		// Those that can run beside each other wait most of the time.
		Argv: []string{program, "-test.v", "-test.timeout=10m", "-test.parallel=4"},
		Env: []string{
			"XTABLES_LIBDIR=/arcbox/tools/" + iptables + "/lib/xtables",
			"IPTABLES=" + strings.Join(tool(iptables, "xtables-nft-multi", "iptables"), " "),
			"IP=" + strings.Join(ip, " "),
		},
	})
	if r.Code != 0 || !strings.Contains(r.Stdout, "--- PASS: ") || strings.Contains(r.Stdout, "--- SKIP") {
		t.Errorf("code %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	t.Logf("%d tests passed", strings.Count(r.Stdout, "--- PASS: "))
}
