//go:build vmtest

package vmtests

import (
	"bytes"
	"encoding/json"
	"io"
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
	for _, path := range []string{"pkg/arcsetup", "pkg/arcsetup/netd", "internal/uevent"} {
		program := packageTests(t, m, path)
		t.Run(filepath.Base(path), func(t *testing.T) { runPackageTests(t, m, program, "iptables") })
	}
}

// TestFirewallInGuest runs the firewall's own tests beside the real iptables, each
// version that there is.
func TestFirewallInGuest(t *testing.T) {
	t.Parallel()
	m := boot(t, image{tools: true, timeout: 15 * time.Minute})
	program := packageTests(t, m, "pkg/arcsetup/netd/firewall")
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

// packageTests builds the tests of a package onto the share, and returns
// what they are in the guest.
func packageTests(t *testing.T, m *machine, path string) (program string) {
	t.Helper()
	name := filepath.Base(path) + ".test"
	build := exec.Command("go", "test", "-c", "-tags", "guesttest", "-o", filepath.Join(m.dirs["arcbox"], name), "../"+path)
	build.Env = append(os.Environ(), "GOARCH="+arch(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the tests: %v\n%s", err, out)
	}
	return "/arcbox/" + name
}

// runPackageTests runs them with the iptables that is laid out under this name,
// each as a test of its own here.
func runPackageTests(t *testing.T, m *machine, program, iptables string) {
	t.Helper()
	r := must[probe.Result](t, m, "Run", probe.Command{
		// Those that can run beside each other wait most of the time.
		Argv: []string{program, "-test.v=test2json", "-test.timeout=10m", "-test.parallel=4"},
		Env: []string{
			"XTABLES_LIBDIR=/arcbox/tools/" + iptables + "/lib/xtables",
			"IPTABLES=" + strings.Join(tool(iptables, "xtables-nft-multi", "iptables"), " "),
			"IP=" + strings.Join(ip, " "),
		},
	})
	passed := 0
	for _, one := range results(t, r.Stdout) {
		t.Run(one.test, func(t *testing.T) {
			if one.action != "pass" || strings.Contains(one.output, "--- SKIP") {
				t.Fatalf("%s\n%s", one.action, one.output)
			}
			t.Logf("%.2f s", one.seconds)
			passed++
		})
	}
	if passed == 0 || r.Code != 0 && !t.Failed() {
		t.Errorf("code %d, %d tests passed\n%s", r.Code, passed, r.Stdout)
	}
	if r.Code != 0 {
		t.Log(r.Stderr)
	}
}

// result is what came of one test of a package in a guest, with its subtests.
type result struct {
	test    string
	action  string // pass, fail or skip; empty where it did not end
	seconds float64
	output  string
}

// results reads what a test program has written, for each test in the order in
// which they began.
func results(t *testing.T, stdout string) []*result {
	t.Helper()
	convert := exec.Command("go", "tool", "test2json", "-t")
	convert.Stdin = strings.NewReader(stdout)
	events, err := convert.Output()
	if err != nil {
		t.Fatalf("read what the tests have written: %v", err)
	}
	var all []*result
	byTest := map[string]*result{}
	for d := json.NewDecoder(bytes.NewReader(events)); ; {
		var event struct {
			Action, Test, Output string
			Elapsed              float64 // in seconds
		}
		if err := d.Decode(&event); err == io.EOF {
			return all
		} else if err != nil {
			t.Fatalf("read what the tests have written: %v", err)
		}
		test, _, isSubtest := strings.Cut(event.Test, "/")
		if test == "" {
			continue
		}
		one := byTest[test]
		if one == nil {
			one = &result{test: test}
			byTest[test] = one
			all = append(all, one)
		}
		switch event.Action {
		case "output":
			one.output += event.Output
		case "pass", "fail", "skip":
			if !isSubtest {
				one.action, one.seconds = event.Action, event.Elapsed
			}
		}
	}
}
