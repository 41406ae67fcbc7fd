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

// TestPackagesInGuest runs the packages' own tests that need root: they mount,
// change the network, or make devices send events. Some measure time, so no other
// guest runs at the same time.
func TestPackagesInGuest(t *testing.T) {
	m := boot(t, image{tools: true, cpus: 2, timeout: 15 * time.Minute})
	for _, path := range []string{"pkg/arcsetup", "pkg/arcsetup/netd", "internal/process", "internal/uevent"} {
		program := packageTests(t, m, path)
		t.Run(filepath.Base(path), func(t *testing.T) { runPackageTests(t, m, program, "iptables") })
	}
}

// TestFirewallInGuest runs the firewall's own tests with each version of the real
// iptables.
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
		t.Errorf("tested with iptables %v, want at least two versions", versions)
	}
}

// packageTests builds a package's tests onto the share, and returns their path in
// the guest.
func packageTests(t *testing.T, m *machine, path string) (program string) {
	t.Helper()
	name := filepath.Base(path) + ".test"
	args := []string{"test", "-c", "-tags", "guesttest", "-o", filepath.Join(m.dirs["arcbox"], name)}
	if os.Getenv("ARCINIT_COVER") != "" {
		args = append(args, "-cover", "-covermode=atomic", "-coverpkg="+os.Getenv("ARCINIT_LINKED"))
	}
	build := exec.Command("go", append(args, "../"+path)...)
	build.Env = append(os.Environ(), "GOARCH="+arch(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the tests: %v\n%s", err, out)
	}
	return "/arcbox/" + name
}

// runPackageTests runs a package's tests with one of the iptables in tools, and
// reports each as a subtest.
func runPackageTests(t *testing.T, m *machine, program, iptables string) {
	t.Helper()
	argv := []string{program, "-test.v=test2json", "-test.timeout=10m", "-test.parallel=4"} // they mostly wait
	if dir := os.Getenv("ARCINIT_COVER"); dir != "" {
		name := strings.ReplaceAll(t.Name(), "/", "_")
		argv = append(argv, "-test.gocoverdir=/arcbox/"+name)
		command(t, "", "mkdir", filepath.Join(m.dirs["arcbox"], name))
		defer command(t, "", "cp", "-r", filepath.Join(m.dirs["arcbox"], name), dir)
	}
	r := must[probe.Result](t, m, "Run", probe.Command{
		Argv: argv,
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

// result is the outcome of a package's test in a guest, including its subtests.
type result struct {
	test    string
	action  string // pass, fail or skip; empty if the test did not end
	seconds float64
	output  string
}

// results parses a test program's output into one result for each test, in the order
// in which the tests began.
func results(t *testing.T, stdout string) []*result {
	t.Helper()
	convert := exec.Command("go", "tool", "test2json", "-t")
	convert.Stdin = strings.NewReader(stdout)
	events, err := convert.Output()
	if err != nil {
		t.Fatalf("parse the tests' output: %v", err)
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
			t.Fatalf("parse the tests' output: %v", err)
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
