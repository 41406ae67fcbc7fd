//go:build vmtest

package vmtests

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/arcinit/arcinit/pkg/arcsetup"
	"github.com/arcinit/arcinit/pkg/arcsetup/plan"
	"github.com/arcinit/arcinit/vmtests/pages"
	"github.com/arcinit/arcinit/vmtests/probe"
)

// runPage runs the blocks of commands on an example's page, and returns the boot report that each leaves. The blocks boot guests of their own. They
// are not run beside other guests, because the compiler would slow those down.
func runPage(t *testing.T, example string) (reports []arcsetup.Report) {
	t.Helper()
	all, err := pages.Read(filepath.Join("..", "examples", example))
	if err != nil || len(all) != 1 || len(all[0].Scripts()) == 0 {
		t.Fatalf("examples/%s has %d pages with commands, %v", example, len(all), err)
	}
	for _, script := range all[0].Scripts() {
		script = strings.ReplaceAll(script, "/amd64/", "/"+arch()+"/")
		run := exec.Command("bash", "-ec", script)
		run.Dir = ".."
		// As a person's shell, not as the make that runs this test.
		run.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool {
			name, _, _ := strings.Cut(v, "=")
			return strings.HasPrefix(name, "MAKE") || slices.Contains([]string{"MFLAGS", "FULL", "RUN", "KERNELS", "ENGINES"}, name)
		}), "PATH="+os.Getenv("PATH")+":/usr/sbin", "CGO_ENABLED=0", "ARCH="+arch())
		if out, err := run.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", script, err, out)
		}
		data, err := os.ReadFile("../build/boot.json")
		if err != nil {
			t.Fatal(err)
		}
		r, err := arcsetup.ParseReport(data)
		if err != nil {
			t.Fatal(err)
		}
		reports = append(reports, r)
	}
	return reports
}

// when returns the results by the names of their steps.
func when(r arcsetup.Report) map[string]plan.Result {
	results := map[string]plan.Result{}
	for _, s := range r.Steps {
		results[s.Step] = s
	}
	return results
}

// TestExampleCustom boots the program of examples/custom as its page says, and once more to look at what its steps did.
func TestExampleCustom(t *testing.T) {
	got := when(runPage(t, "custom")[0])
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
	r := runPage(t, "swap-in")[0]
	if r.Role != "init" || r.AgentStarted == 0 || when(r)["switchroot"].Outcome != plan.OK {
		t.Errorf("role %q, the agent started at %v, %s", r.Role, r.AgentStarted, r.Count())
	}
}
