package uinit

import (
	"slices"
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
