package main

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/arcinit/arcinit/pkg/arcsetup/config"
	"github.com/arcinit/arcinit/pkg/arcsetup/plan"
)

// keep writes value as JSON, as a guest keeps its reports.
func keep(t *testing.T, name string, value any) string {
	t.Helper()
	data, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return file(t, name, string(data))
}

func file(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func call(command string, args ...string) (string, error) {
	var out strings.Builder
	err := run(append([]string{command}, args...), &out)
	return out.String(), err
}

func TestReport(t *testing.T) {
	b, n := boot()
	bootPath, netPath := keep(t, "boot.json", b), keep(t, "net.json", n)
	alone, err := call("report", bootPath)
	if err != nil {
		t.Fatal(err)
	}
	both, err := call("report", bootPath, netPath)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"b<&", "agent"} {
		if !strings.Contains(alone, name) {
			t.Errorf("the report does not name %s:\n%s", name, alone)
		}
	}
	if network, ok := strings.CutPrefix(both, alone); !ok || !strings.Contains(network, "eth0") || strings.Contains(alone, "eth0") {
		t.Errorf("the network does not follow the boot:\n%s", both)
	}
}

func TestPlot(t *testing.T) {
	b, n := boot()
	bootPath, netPath := keep(t, "boot.json", b), keep(t, "net.json", n)
	for _, args := range [][]string{{"plot", file(t, "empty.json", "{}")}, {"plot", bootPath}, {"plot", bootPath, netPath}} {
		out, err := call(args[0], args[1:]...)
		if err != nil {
			t.Fatal(err)
		}
		var svg struct{ XMLName xml.Name }
		if err := xml.Unmarshal([]byte(out), &svg); err != nil || svg.XMLName.Local != "svg" {
			t.Errorf("%v: %v, root %q", args, err, svg.XMLName.Local)
		}
		if has := strings.Contains(out, ">eth0<"); has != (len(args) == 3) {
			t.Errorf("%v: the picture has the network: %v", args, has)
		}
	}
}

func TestCheck(t *testing.T) {
	good, bad := file(t, "good.toml", "hostname = \"guest\"\n[[service]]\nname = \"sshd\"\nargv = [\"/sshd\"]\n"), file(t, "bad.toml", "\nlog = \"loud\"\n")
	out, err := call("check", good)
	if err != nil || !strings.Contains(out, good) {
		t.Errorf("%q, %v", out, err)
	}
	if got := line(out, "hostname"); !strings.Contains(got, "  guest  ") {
		t.Errorf("the step hostname: %q", got)
	}
	if got := line(out, "services"); !strings.Contains(got, "  sshd  ") {
		t.Errorf("the step services: %q", got)
	}
	if got := line(out, "zram"); !strings.Contains(got, "  not configured  ") {
		t.Errorf("the step zram: %q", got)
	}
	if !strings.Contains(line(out, "/arcbox"), "share arcbox") {
		t.Errorf("the mounts lack /arcbox:\n%s", out)
	}
	image := file(t, "image.toml", "[host]\nallow = []\n")
	if out, err := call("check", image, good); err == nil || !strings.Contains(err.Error(), good) || strings.Contains(line(out, "hostname"), "  guest  ") {
		t.Errorf("a host that may set nothing: %q, %v", out, err)
	}
	if _, err := call("check", filepath.Join(t.TempDir(), "missing"), good); err == nil {
		t.Error("no error of a missing image's file")
	}
	if _, err := call("check", bad); err == nil || !strings.Contains(err.Error(), bad) || strings.Contains(err.Error(), usage) {
		t.Errorf("an unknown log level: %v", err)
	}
}

// TestCheckKnowsTheSteps: no setting is for a step that the plan does not have.
func TestCheckKnowsTheSteps(t *testing.T) {
	for step := range configured(config.Default()) {
		if !strings.Contains(string(planJSON), `"step": "`+step+`"`) {
			t.Errorf("plan.json has no step %s", step)
		}
	}
}

// line returns the line of a table that begins with this word, without the blanks at its end.
func line(table, word string) string {
	for line := range strings.Lines(table) {
		if strings.HasPrefix(line, word+" ") {
			return strings.TrimSpace(line)
		}
	}
	return ""
}

func TestDiff(t *testing.T) {
	a, _ := boot()
	b, _ := boot()
	b.Steps = slices.Clone(b.Steps)
	first := b.Steps[0]
	b.Steps[0].End += 7 * time.Millisecond
	b.Steps[0].Outcome = plan.Failed
	b.Steps = append(b.Steps, plan.Result{Step: "new", Outcome: plan.OK, Start: first.Start, End: first.Start + time.Millisecond})
	b.AgentStarted += 2 * time.Millisecond
	out, err := call("diff", keep(t, "a.json", a), keep(t, "b.json", b))
	if err != nil {
		t.Fatal(err)
	}
	if got := line(out, "/init to the agent"); !strings.Contains(got, "+2.00") {
		t.Errorf("the agent started 2 ms later: %q", got)
	}
	if got := line(out, first.Step); !strings.Contains(got, "+7.00") || !strings.Contains(got, "-> failed") {
		t.Errorf("the step %s took 7 ms more and failed: %q", first.Step, got)
	}
	if got := line(out, "new"); !strings.Contains(got, "+1.00") || !strings.Contains(got, "-> ok") {
		t.Errorf("the new step: %q", got)
	}
	if strings.Index(out, "\n"+first.Step+" ") > strings.Index(out, "\nnew ") {
		t.Errorf("the step that became slowest is not first:\n%s", out)
	}
}

func TestUnreadableFiles(t *testing.T) {
	missing, damaged := filepath.Join(t.TempDir(), "missing"), file(t, "damaged.json", "{")
	whole := keep(t, "boot.json", struct{}{})
	for _, args := range [][]string{{missing, whole}, {whole, missing}} {
		if out, err := call("diff", args...); !errors.Is(err, fs.ErrNotExist) || out != "" {
			t.Errorf("diff %q: %q, %v", args, out, err)
		}
	}
	for _, command := range []string{"report", "plot", "check"} {
		if _, err := call(command, missing); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s of a missing file: %v", command, err)
		}
		if out, err := call(command, damaged); err == nil || out != "" && command != "check" {
			t.Errorf("%s of a damaged file: %q, %v", command, out, err)
		}
	}
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{{""}, {"draw"}, {"report"}, {"report", "a", "b", "c"}, {"plot"}, {"plot", "a", "b", "c"}, {"check"}, {"check", "a", "b", "c"}, {"diff"}, {"diff", "a"}, {"version", "a"}} {
		if out, err := call(args[0], args[1:]...); err == nil || !strings.Contains(err.Error(), usage) || out != "" {
			t.Errorf("%q: %q, %v", args, out, err)
		}
	}
	for _, args := range [][]string{{"version"}, {"help"}, {"--help"}} {
		if out, err := call(args[0], args[1:]...); err != nil || out == "" {
			t.Errorf("%q: %q, %v", args, out, err)
		}
	}
}
