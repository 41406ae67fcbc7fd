package arcsetup

import (
	"strings"
	"testing"
	"time"

	"github.com/arcinit/arcinit/pkg/arcsetup/plan"
)

func TestWriteTable(t *testing.T) {
	at := func(ms int) time.Duration { return time.Duration(ms) * time.Millisecond }
	r := Report{Version: "v1", Kernel: "6.12 x86_64", Role: "init", Start: at(100), PlanEnded: at(200), AgentStarted: at(200), Steps: []plan.Result{
		{Step: "late", Outcome: plan.OK, Start: at(150), End: at(200)},
		{Step: "first", Outcome: plan.Already, Start: at(100), End: at(125)},
		{Step: "instant", Outcome: plan.Failed, Start: at(200), End: at(200), Error: "no\n" + strings.Repeat("long ", 30) + "reason"},
	}}
	var out strings.Builder
	if err := r.WriteTable(&out); err != nil {
		t.Fatal(err)
	}
	// 55 columns are left for the bars.
	bar := func(from, to int) string {
		return "|" + strings.Repeat(" ", from) + strings.Repeat("#", to-from) + strings.Repeat(" ", 55-to) + "|"
	}
	want := []string{
		"arcinit v1 on Linux 6.12 x86_64, as init, started 100.00 ms after the kernel",
		"    AT ms   TOOK ms  STEP     OUTCOME      |0" + strings.Repeat(" ", 48) + "100.00|",
		"     0.00     25.00  first    already      " + bar(0, 14),
		"    50.00     50.00  late     ok           " + bar(27, 55),
		"   100.00      0.00  instant  failed       " + bar(54, 55),
		"3 steps, 1 ok, 1 already, 1 failed (instant); agent started 100.00 ms after /init",
		"instant  no; " + strings.TrimSpace(strings.Repeat("long ", 17)),
		"         " + strings.Repeat("long ", 13) + "reason",
		"",
	}
	got := strings.Split(out.String(), "\n")
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(got) || i >= len(want) || got[i] != want[i]:
			t.Fatalf("line %d is not as it should be in\n%s\nbut\n%s", i, out.String(), strings.Join(want, "\n"))
		case len(got[i]) > columns:
			t.Errorf("line %d has %d columns", i, len(got[i]))
		}
	}
}

func TestWriteTableOfNothing(t *testing.T) {
	var out strings.Builder
	if err := (Report{Start: 5}).WriteTable(&out); err != nil || !strings.Contains(out.String(), "0 steps") {
		t.Errorf("%v\n%s", err, out.String())
	}
}

func TestBarStaysOnItsAxis(t *testing.T) {
	for _, span := range [][2]time.Duration{{-100, -50}, {50, 200}, {200, 300}, {80, 20}, {-105, 1 << 62}} {
		if got := bar(span[0], span[1], 100, 10); len(got) != 10 || !strings.Contains(got, "#") {
			t.Errorf("%v: %q", span, got)
		}
	}
}
