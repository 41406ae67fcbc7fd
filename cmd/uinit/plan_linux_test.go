package main

import (
	"slices"
	"testing"

	"github.com/arcinit/arcinit/pkg/arcsetup/plan"
)

// before reports whether the step name waits for the step other, directly or not.
func before(steps []plan.Step, other, name string) bool {
	i := slices.IndexFunc(steps, func(s plan.Step) bool { return s.Name == name })
	return i >= 0 && slices.ContainsFunc(steps[i].Needs, func(need string) bool {
		return need == other || before(steps[:i], other, need)
	})
}

// checkPlan checks that every step has a name of its own and a function, and needs only
// steps that are before it.
func checkPlan(t *testing.T, steps []plan.Step) {
	t.Helper()
	for i, s := range steps {
		earlier := plan.Names(steps[:i])
		if slices.Contains(earlier, s.Name) || s.Run == nil {
			t.Errorf("step %s has the name of another step, or no function", s.Name)
		}
		for _, need := range s.Needs {
			if !slices.Contains(earlier, need) {
				t.Errorf("step %s needs %s, which is not an earlier step", s.Name, need)
			}
		}
	}
}

func TestBootPlan(t *testing.T) {
	steps := bootPlan()
	checkPlan(t, steps)
	for _, want := range [][2]string{
		{"console", "switchroot"}, // no path is resolved while the root changes
		{"forward", "network"},
		{"hostname", "network"},
		{"propagation", "agent"},
		{"report", "agent"},
		{"network", "agent"},
		{"agent", "hotplug"},
	} {
		if !before(steps, want[0], want[1]) {
			t.Errorf("step %s does not wait for %s", want[1], want[0])
		}
	}
	for _, s := range steps {
		if s.Name != "switchroot" && s.Name != "agent" && !before(steps, s.Name, "agent") && !before(steps, "agent", s.Name) {
			t.Errorf("step %s neither ends before the agent starts nor begins after", s.Name)
		}
	}
}
