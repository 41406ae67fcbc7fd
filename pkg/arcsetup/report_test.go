package arcsetup

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/arcinit/arcinit/internal/process"
	"github.com/arcinit/arcinit/pkg/arcsetup/plan"
)

func TestWriteTable(t *testing.T) {
	at := func(ms int) time.Duration { return time.Duration(ms) * time.Millisecond }
	r := Report{Version: "v1", Kernel: "6.12 x86_64", Role: "init", Start: at(100), PlanEnded: at(200), AgentStarted: at(200), Steps: []plan.Result{
		{Step: "late", Outcome: plan.OK, Start: at(150), End: at(200)},
		{Step: "first", Outcome: plan.Already, Start: at(100), End: at(125)},
		{Step: "instant", Outcome: plan.Failed, Start: at(200), End: at(200), Error: "no\nreason"},
	}, Services: []process.ServiceStatus{{Name: "agent", PID: 7, Starts: 2, Ends: 1, Since: at(200), LastEnd: "code 1"}, {Name: "netd"}}}
	var out strings.Builder
	if err := r.WriteTable(&out); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"arcinit v1 on Linux 6.12 x86_64, as init, started 100.00 ms after the kernel",
		"    AT ms    TOOK ms  STEP     OUTCOME  ERROR",
		"     0.00      25.00  first    already  ",
		"    50.00      50.00  late     ok       ",
		"   100.00       0.00  instant  failed   no; reason",
		"3 steps, 1 ok, 1 already, 1 failed (instant); agent started 100.00 ms after /init",
		"",
		"SERVICE  PID  STARTS  ENDS   SINCE ms  LAST END",
		"agent    7    2       1        100.00  code 1",
		"netd     -    0       0             -  ",
		"",
	}
	if got := strings.Split(out.String(), "\n"); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", out.String(), strings.Join(want, "\n"))
	}
}

func TestWriteTableOfNothing(t *testing.T) {
	var out strings.Builder
	if err := (Report{Start: 5}).WriteTable(&out); err != nil || !strings.Contains(out.String(), "0 steps") {
		t.Errorf("%v\n%s", err, out.String())
	}
}
