//go:build vmtest

package vmtests

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/arcinit/arcinit/vmtests/probe"
)

// TestPackagesInGuest runs the packages' own tests that mount, change the
// network, want the real iptables or have devices send events, as root of a guest.
func TestPackagesInGuest(t *testing.T) {
	m := boot(t, image{tools: true})
	for _, path := range []string{"arcsetup", "arcsetup/firewall", "arcsetup/netd", "arcsetup/uevent"} {
		name := filepath.Base(path)
		t.Run(name, func(t *testing.T) {
			program := filepath.Join(m.dirs["arcbox"], name+".test")
			build := exec.Command("go", "test", "-c", "-tags", "guesttest", "-o", program, "../pkg/"+path)
			build.Env = append(os.Environ(), "CGO_ENABLED=0")
			if out, err := build.CombinedOutput(); err != nil {
				t.Fatalf("build the tests: %v\n%s", err, out)
			}
			r := must[probe.Result](t, m, "Run", probe.Command{
				Argv: []string{"/arcbox/" + name + ".test", "-test.v", "-test.timeout=80s"},
				Env:  append(slices.Clip(iptablesEnv), "IPTABLES="+strings.Join(iptables, " "), "IP="+strings.Join(ip, " ")),
			})
			if r.Code != 0 || !strings.Contains(r.Stdout, "--- PASS: ") || strings.Contains(r.Stdout, "--- SKIP") {
				t.Errorf("code %d\n%s%s", r.Code, r.Stdout, r.Stderr)
			}
			t.Logf("%d tests passed", strings.Count(r.Stdout, "--- PASS: "))
		})
	}
}
