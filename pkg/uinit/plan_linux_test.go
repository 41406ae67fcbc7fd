package uinit

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/arcinit/arcinit/pkg/arcsetup"
	"github.com/arcinit/arcinit/pkg/arcsetup/plan"
)

// before reports whether the step name waits for the step other, directly or not.
func before(steps []plan.Step, other, name string) bool {
	i := slices.IndexFunc(steps, func(s plan.Step) bool { return s.Name == name })
	return i >= 0 && slices.ContainsFunc(steps[i].Needs, func(need string) bool {
		return need == other || before(steps[:i], other, need)
	})
}

func TestBootPlan(t *testing.T) {
	steps := bootPlan(arcsetup.Plan, 2)
	if err := plan.Check(steps); err != nil {
		t.Fatal(err)
	}
	for _, want := range [][2]string{
		{"console", "switchroot"}, // no path is resolved while the root changes
		{"forward", "network"},
		{"hostname", "network"},
		{"propagation", "agent"},
		{"agent", "hotplug"},
	} {
		if !before(steps, want[0], want[1]) {
			t.Errorf("step %s does not wait for %s", want[1], want[0])
		}
	}
	for _, s := range steps {
		if s.Name != "switchroot" && s.Name != "agent" && s.Name != "network" && !before(steps, s.Name, "agent") && !before(steps, "agent", s.Name) {
			t.Errorf("step %s neither ends before the agent starts nor begins after", s.Name)
		}
	}
}

// TestPlanOnTheHost compares the plan with the copy that arcinit, which also runs on macOS, prints. UPDATE=1 writes the copy.
func TestPlanOnTheHost(t *testing.T) {
	const file = "../../cmd/arcinit/plan.json"
	type step struct {
		Step  string   `json:"step"`
		Doc   string   `json:"doc"`
		Needs []string `json:"needs,omitempty"`
	}
	var steps []step
	for _, s := range bootPlan(arcsetup.Plan, 2) {
		steps = append(steps, step{s.Name, s.Doc, s.Needs})
	}
	want, err := json.MarshalIndent(steps, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	compare(t, file, string(want)+"\n")
}

// TestBootPage compares docs/boot.md with the plan: the drawing, and the table of the steps. UPDATE=1 writes both.
func TestBootPage(t *testing.T) {
	const file = "../../docs/boot.md"
	page, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	faults, err := os.ReadFile("../../docs/faults.md")
	if err != nil {
		t.Fatal(err)
	}
	var drawing, table strings.Builder
	drawing.WriteString("```mermaid\nflowchart LR\n")
	table.WriteString("| step | needs | what holds after | limit | without the step |\n|---|---|---|---|---|\n")
	steps := bootPlan(arcsetup.Plan, 2)
	for i, s := range steps {
		// A need that another need has already is not drawn.
		needs := slices.DeleteFunc(slices.Clone(s.Needs), func(need string) bool {
			return slices.ContainsFunc(s.Needs, func(other string) bool { return before(steps[:i], need, other) })
		})
		for _, need := range needs {
			fmt.Fprintf(&drawing, "    %s --> %s\n", need, s.Name)
		}
		limit := plan.DefaultLimit
		if s.Limit != nil {
			limit = s.Limit()
		}
		outcome := regexp.MustCompile(`(?m)^\| ` + s.Name + ` \| any[^|]* \| (.*) \|$`).FindSubmatch(faults)
		if outcome == nil {
			t.Errorf("docs/faults.md has no outcome for the step %s", s.Name)
			continue
		}
		if len(needs) > 4 {
			needs = []string{fmt.Sprintf("%d of the %d above", len(s.Needs), i)}
		}
		without := strings.TrimPrefix(strings.TrimPrefix(string(outcome[1]), "the agent runs"), "; ")
		fmt.Fprintf(&table, "| %s | %s | %s | %v | %s |\n", s.Name, strings.Join(needs, ", "), s.Doc, limit, without)
	}
	drawing.WriteString("```\n")
	want := regexp.MustCompile("(?s)```mermaid\n.*?```\n").ReplaceAllLiteralString(string(page), drawing.String())
	want = regexp.MustCompile(`(?m)^\| step \|(.*\n\|)*.*\n`).ReplaceAllLiteralString(want, table.String())
	compare(t, file, want)
}

// compare fails unless the file has this content. UPDATE=1 writes the file first.
func compare(t *testing.T, file, want string) {
	t.Helper()
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != want {
		t.Errorf("%s does not have the plan (%v); UPDATE=1 go test ./pkg/uinit writes it", file, err)
	}
}
