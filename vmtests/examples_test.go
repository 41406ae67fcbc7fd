//go:build vmtest

package vmtests

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/arcinit/arcinit/pkg/arcsetup/plan"
	"github.com/arcinit/arcinit/vmtests/pages"
	"github.com/arcinit/arcinit/vmtests/probe"
)

// runPage runs the blocks of commands on an example's page, and returns the boot report that each leaves. The blocks boot guests of their own. They
// are not run beside other guests, because the compiler would slow those down.
func runPage(t *testing.T, example string) (reports [][]byte) {
	t.Helper()
	all, err := pages.Read(filepath.Join("..", "examples", example))
	if err != nil || len(all) != 1 || len(all[0].Blocks("sh")) == 0 {
		t.Fatalf("examples/%s has %d pages with commands, %v", example, len(all), err)
	}
	for _, script := range all[0].Blocks("sh") {
		if err := shell("..", strings.ReplaceAll(script, "/amd64/", "/"+arch()+"/"), "/usr/sbin"); err != nil {
			t.Fatalf("%s: %v", script, err)
		}
		report, err := os.ReadFile("../build/boot.json")
		if err != nil {
			t.Fatal(err)
		}
		reports = append(reports, report)
	}
	return reports
}

// shell runs a script in a directory, with one more directory in PATH: as in a person's shell, not as in that of the make that runs this test.
func shell(dir, script, path string) error {
	cmd := exec.Command("bash", "-ec", script)
	cmd.Dir = dir
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return strings.HasPrefix(name, "MAKE") || slices.Contains([]string{"MFLAGS", "FULL", "RUN", "KERNELS", "ENGINES"}, name)
	}), "PATH="+os.Getenv("PATH")+":"+path, "CGO_ENABLED=0", "ARCH="+arch())
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return nil
}

// TestExampleCustom boots the program of examples/custom as its page says, and once more to look at what its steps did.
func TestExampleCustom(t *testing.T) {
	got := steps(t, runPage(t, "custom")[0])
	if _, ok := got["dax"]; ok || len(got) < 40 {
		t.Errorf("the plan of %d steps still has dax: %v", len(got), ok)
	}
	if got["issue"].Start < got["layers"].End || got["name"].End > got["hostname"].Start || got["name"].End == 0 {
		t.Errorf("wrong order: %+v", got)
	}

	path := filepath.Join(t.TempDir(), "initramfs.cpio")
	command(t, "", "sh", "-c", "cat "+built(t, "initramfs-modules.cpio")+" ../build/custom.cpio >"+path)
	m := boot(t, image{initrd: path, nics: bothNICs(), tools: true})
	if name := must[probe.AtStart](t, m, "AtStart", none{}); name.PPID != 1 {
		t.Errorf("the agent's parent is process %d", name.PPID)
	}
	if got := strings.TrimSpace(m.read(t, "/proc/sys/kernel/hostname")); got != "guest-525400000001" {
		t.Errorf("the guest is called %q, its first NIC has the address 52:54:00:00:00:01", got)
	}
	if got := m.read(t, "/etc/issue"); got != "A guest of ours\n" {
		t.Errorf("/etc/issue holds %q", got)
	}
	testAgain(t, m)
}

// TestExampleSwapIn boots the disk of examples/swap-in as the page says.
func TestExampleSwapIn(t *testing.T) {
	report := runPage(t, "swap-in")[0]
	if r := parseReport(t, report); r.Role != "init" || r.AgentStarted == 0 || steps(t, report)["switchroot"].Outcome != plan.OK {
		t.Errorf("role %q, the agent started at %v, %s", r.Role, r.AgentStarted, r.Count())
	}
}
