package arcsetup_test

import (
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/arcinit/arcinit/pkg/arcsetup"
	"github.com/arcinit/arcinit/pkg/arcsetup/plan"
	"golang.org/x/sys/unix"
)

// A program that is no init sets the guest up once, without the steps that it does not want. It must be root of the guest.
func ExamplePlan() {
	guest := &arcsetup.Guest{Root: "/", Program: "/proc/self/exe", Environ: os.Environ(), After: time.After}
	runner := &plan.Runner{Log: slog.Default(), Uptime: func() time.Duration {
		var now unix.Timespec
		_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &now)
		return time.Duration(now.Nano())
	}}
	steps, later := arcsetup.Plan(guest)
	runner.Run(plan.Without(append(steps, later...), "dax"))
	for _, r := range runner.Results() {
		fmt.Println(r.Step, r.Outcome, r.Error)
	}
}

// The report of a boot is in /run/arcbox/boot.json, and on the share arcbox.
func ExampleParseReport() {
	r, err := arcsetup.ParseReport([]byte(`{"start_ns": 190000000, "agent_started_ns": 197100000, "steps": [
		{"step": "share", "outcome": "ok"}, {"step": "rosetta", "outcome": "unavailable", "error": "only arm64 needs it"}]}`))
	fmt.Println(r.AgentStarted-r.Start, r.Count(), err)
	// Output: 7.1ms 2 steps, 1 ok, 1 unavailable <nil>
}
