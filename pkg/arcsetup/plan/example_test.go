package plan_test

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/arcinit/arcinit/pkg/arcsetup/plan"
)

// steps is a plan of three steps. The last one needs the others.
func steps() []plan.Step {
	return []plan.Step{
		{Name: "data", Run: func() (bool, error) { return true, nil }, Doc: "the data disk is mounted"},
		{Name: "cache", Run: func() (bool, error) { return false, plan.Absent(errors.New("no such disk")) }, Doc: "optional: the cache is mounted"},
		{Name: "server", Needs: []string{"data", "cache"}, Run: func() (bool, error) { return true, nil }, Doc: "the server runs"},
	}
}

func ExampleRunner() {
	start := time.Now()
	runner := &plan.Runner{Log: slog.New(slog.DiscardHandler), Uptime: func() time.Duration { return time.Since(start) }}
	runner.Run(steps())
	for _, r := range runner.Results() {
		if r.Step == "server" {
			fmt.Println(r.Step, r.Outcome, r.Needs)
		}
	}
	// Output: server ok [data cache]
}

// A step that is removed leaves its needs to the steps that needed it.
func ExampleWithout() {
	for _, s := range plan.Without(steps(), "cache") {
		fmt.Println(s.Name, s.Needs)
	}
	// Output:
	// data []
	// server [data]
}

func ExampleInsert() {
	check := plan.Step{Name: "check", Needs: []string{"data"}, Run: func() (bool, error) { return false, nil }}
	changed := plan.AddNeed(plan.Insert(steps(), "server", check), "server", "check")
	for _, s := range changed {
		fmt.Println(s.Name, s.Needs)
	}
	fmt.Println("mistakes:", plan.Check(changed))
	// Output:
	// data []
	// cache []
	// check [data]
	// server [data cache check]
	// mistakes: <nil>
}
