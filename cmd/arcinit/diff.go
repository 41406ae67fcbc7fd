package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/arcinit/arcinit/pkg/arcsetup"
	"github.com/arcinit/arcinit/pkg/arcsetup/plan"
)

// diff compares two boots: when the agent was started and the plan ended, and how long each step took. Steps that became slower come first.
func diff(pathA, pathB string, out io.Writer) error {
	a, err := readBoot(pathA)
	if err != nil {
		return err
	}
	b, err := readBoot(pathB)
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintf(table, "A: %s, arcinit %s on Linux %s\nB: %s, arcinit %s on Linux %s\n\n", pathA, a.Version, a.Kernel, pathB, b.Version, b.Kernel)
	_, _ = fmt.Fprintln(table, "\tA ms\tB ms\tCHANGE ms\tOUTCOME")
	times := func(r arcsetup.Report, at time.Duration) time.Duration { return max(0, at-r.Start) }
	write := func(name string, a, b time.Duration, outcome string) {
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%+.2f\t%s\n", name, ms(a), ms(b), float64(b-a)/1e6, outcome)
	}
	write("/init to the agent", times(a, a.AgentStarted), times(b, b.AgentStarted), "")
	write("/init to the end", times(a, a.PlanEnded), times(b, b.PlanEnded), "")

	for _, p := range pairs(a.Steps, b.Steps) {
		write(p.name, p.a.End-p.a.Start, p.b.End-p.b.Start, p.outcome())
	}
	return table.Flush()
}

// pair is a step in both boots. It is empty in one of them if that boot's plan lacks the step.
type pair struct {
	name string
	a, b plan.Result
}

func (p pair) change() time.Duration { return (p.b.End - p.b.Start) - (p.a.End - p.a.Start) }

func (p pair) outcome() string {
	if p.a.Outcome == p.b.Outcome {
		return string(p.b.Outcome)
	}
	return cmp.Or(string(p.a.Outcome), "no such step") + " -> " + cmp.Or(string(p.b.Outcome), "no such step")
}

// pairs returns the steps of both boots, those that became slower first.
func pairs(a, b []plan.Result) (steps []pair) {
	index := map[string]int{}
	for _, r := range a {
		index[r.Step] = len(steps)
		steps = append(steps, pair{name: r.Step, a: r})
	}
	for _, r := range b {
		if i, ok := index[r.Step]; ok {
			steps[i].b = r
		} else {
			steps = append(steps, pair{name: r.Step, b: r})
		}
	}
	slices.SortStableFunc(steps, func(x, y pair) int { return cmp.Compare(y.change(), x.change()) })
	return steps
}
