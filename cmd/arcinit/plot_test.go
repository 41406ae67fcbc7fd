package main

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/arcinit/arcinit/internal/process"
	"github.com/arcinit/arcinit/pkg/arcsetup"
	"github.com/arcinit/arcinit/pkg/arcsetup/netd"
	"github.com/arcinit/arcinit/pkg/arcsetup/plan"
)

const milli = time.Millisecond

func boot() (arcsetup.Report, netd.Report) {
	return arcsetup.Report{
			Version: "v1", Kernel: "6.12", Role: "init", Start: 600 * milli, AgentStarted: 610 * milli,
			Steps: []plan.Result{
				{Step: "a", Outcome: plan.OK, Start: 600 * milli, End: 605 * milli},
				{Step: "b<&", Outcome: plan.Failed, Start: 605 * milli, End: 610 * milli, Needs: []string{"a"}, Error: "\x01\"\xff"},
				{Step: "c", Outcome: plan.Already, Start: 610 * milli, End: 610 * milli, Needs: []string{"a", "b<&"}},
			},
			Services: []process.ServiceStatus{{Name: "agent", PID: 7, Starts: 1, Since: 605 * milli}},
		}, netd.Report{NICs: []netd.NIC{
			{Name: "eth0", State: netd.StateBound, ConfiguredNS: int64(605 * milli)},
			{Name: "eth1", State: netd.StateDiscovering},
		}}
}

func drawn(t *testing.T, r arcsetup.Report, n netd.Report) string {
	t.Helper()
	var out strings.Builder
	if err := draw(&out, r, n); err != nil {
		t.Fatal(err)
	}
	for d := xml.NewDecoder(strings.NewReader(out.String())); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return out.String()
		} else if err != nil {
			t.Fatalf("%v in\n%s", err, out.String())
		}
	}
}

// TestDraw expects the 10 ms after /init in the 880 pixels from 110 to 990.
func TestDraw(t *testing.T) {
	got := drawn(t, first(boot()), second(boot()))
	for _, want := range []string{
		`<rect class="ok" x="110.0" y="120" width="440.0" height="10"/>`,
		`<rect class="failed" x="550.0" y="134" width="440.0" height="10"/>`,
		`<rect class="already" x="990.0" y="148" width="1.5" height="10"/>`,
		`<path class="need" d="M550.0 125L550.0 139"/>`,
		`<path class="need" d="M990.0 139L990.0 153"/>`,
		`<path class="runs" d="M550.0 `,
		"600.00 ms after the kernel", "b&lt;&amp;", "eth1", "prefers-color-scheme:dark",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in\n%s", want, got)
		}
	}
	if n := strings.Count(got, `class="need"`); n != 2 {
		t.Errorf("%d needs are drawn, want 2: b needs a already, so c's line to b is enough", n)
	}
}

func TestDrawLater(t *testing.T) {
	r, n := boot()
	n.NICs[0].ConfiguredNS = int64(900 * milli)
	r.Services[0].Since = 800 * milli
	got := drawn(t, r, n)
	for _, want := range []string{">later: ,", ">later: started 800.00 ms<"} {
		if strings.Count(got, want) != 2 {
			t.Errorf("%q is not there twice, as a note and its tip, in\n%s", want, got)
		}
	}
	if n := strings.Count(got, "later: "); n != 4 {
		t.Errorf("later is there %d times, want 4", n)
	}
}

func first(r arcsetup.Report, _ netd.Report) arcsetup.Report { return r }
func second(_ arcsetup.Report, n netd.Report) netd.Report    { return n }

func TestDrawNonsense(t *testing.T) {
	for _, r := range []arcsetup.Report{
		{}, {Start: -5, AgentStarted: 1 << 62},
		{Steps: []plan.Result{{Step: "x", Needs: []string{"x", "y"}, Outcome: `"><script>`, Start: 50, End: -50}}},
	} {
		if got := drawn(t, r, netd.Report{NICs: []netd.NIC{{ConfiguredNS: 1 << 62}}}); strings.Contains(got, "<script") {
			t.Error(got)
		}
	}
}
