package arcsetup

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/arcinit/arcinit/internal/process"
	"github.com/arcinit/arcinit/pkg/arcsetup/plan"
)

// Report is the result of a boot, kept as JSON in ReportPath. Times are since the
// kernel's boot, in nanoseconds.
type Report struct {
	Version string `json:"version"` // of arcinit
	Kernel  string `json:"kernel"`  // release and architecture
	// Role is "init" as PID 1, "uinit" under another init, "repeat" for a set-up that
	// was run again.
	Role string `json:"role"`
	// Start is when the program began. PlanEnded is when its last step had ended,
	// AgentStarted when the agent was first started; both are zero until then.
	Start        time.Duration           `json:"start_ns"`
	PlanEnded    time.Duration           `json:"plan_ended_ns,omitempty"`
	AgentStarted time.Duration           `json:"agent_started_ns,omitempty"`
	Steps        []plan.Result           `json:"steps"`
	Services     []process.ServiceStatus `json:"services,omitempty"`
}

// ParseReport parses a report from JSON.
func ParseReport(data []byte) (Report, error) {
	var r Report
	if err := json.Unmarshal(data, &r); err != nil {
		return r, fmt.Errorf("parse the boot report: %w", err)
	}
	return r, nil
}

// Count counts the steps by outcome, and names those that failed.
func (r Report) Count() string {
	names := map[plan.Outcome][]string{}
	for _, s := range r.Steps {
		names[s.Outcome] = append(names[s.Outcome], s.Step)
	}
	text := fmt.Sprintf("%d steps", len(r.Steps))
	for _, o := range []plan.Outcome{plan.OK, plan.Already, plan.Unavailable, plan.Failed} {
		if n := len(names[o]); n > 0 {
			text += fmt.Sprintf(", %d %s", n, o)
		}
	}
	if failed := names[plan.Failed]; failed != nil {
		text += " (" + strings.Join(failed, " ") + ")"
	}
	return text
}

// columns is the width of the table, which fits on serial consoles and README pages.
const columns = 100

// WriteTable writes the report as text: a line for each step in the order of their
// start, with a bar on the time axis from /init to the end of the boot, then the
// steps' errors and the services.
func (r Report) WriteTable(w io.Writer) error {
	var b strings.Builder
	wrap(&b, "", fmt.Sprintf("arcinit %s on Linux %s, as %s, started %s ms after the kernel",
		r.Version, r.Kernel, r.Role, ms(r.Start)))
	width := len("STEP")
	for _, s := range r.Steps {
		width = max(width, len(s.Step))
	}
	whole := r.End() - r.Start
	head := fmt.Sprintf("%9s %9s  %-*s  %-11s  |", "AT ms", "TOOK ms", width, "STEP", "OUTCOME")
	axis := max(columns-len(head)-1, 10)
	fmt.Fprintf(&b, "%s0%*s|\n", head, axis-1, ms(whole))
	var errs strings.Builder
	for _, s := range r.ByStart() {
		from, to := s.Start-r.Start, s.End-r.Start
		fmt.Fprintf(&b, "%9s %9s  %-*s  %-11s  |%s|\n", ms(from), ms(to-from), width, s.Step, s.Outcome, bar(from, to, whole, axis))
		if s.Error != "" {
			wrap(&errs, fmt.Sprintf("%-*s  ", width, s.Step), strings.ReplaceAll(s.Error, "\n", "; "))
		}
	}
	count := r.Count()
	switch {
	case r.AgentStarted != 0:
		count += fmt.Sprintf("; agent started %s ms after /init", ms(r.AgentStarted-r.Start))
	case r.PlanEnded != 0:
		count += "; the agent has not started"
	}
	wrap(&b, "", count)
	b.WriteString(errs.String())
	r.writeServices(&b)
	_, err := io.WriteString(w, b.String())
	return err
}

// ByStart returns the steps in the order of their start.
func (r Report) ByStart() []plan.Result {
	steps := slices.Clone(r.Steps)
	sort.SliceStable(steps, func(i, j int) bool { return steps[i].Start < steps[j].Start })
	return steps
}

// End is the end of the boot: the last step has ended and the agent was started.
func (r Report) End() time.Duration {
	end := max(r.Start, r.PlanEnded, r.AgentStarted)
	for _, s := range r.Steps {
		end = max(end, s.End)
	}
	return end
}

// bar draws the span between two times on an axis of width characters, which ends at
// whole. A span of no time is one character long.
func bar(from, to, whole time.Duration, width int) string {
	place := func(t time.Duration) float64 {
		return float64(width) * float64(min(max(t, 0), whole)) / float64(max(whole, 1))
	}
	first := min(int(place(from)), width-1)
	end := max(int(math.Ceil(place(to))), first+1)
	return strings.Repeat(" ", first) + strings.Repeat("#", end-first) + strings.Repeat(" ", width-end)
}

// wrap writes head and text in lines as wide as the table, and indents all but the
// first like the text.
func wrap(b *strings.Builder, head, text string) {
	line := head
	for word := range strings.FieldsSeq(text) {
		if len(line) > len(head) && len(line)+len(word) > columns {
			fmt.Fprintln(b, strings.TrimRight(line, " "))
			line = strings.Repeat(" ", len(head))
		}
		line += word + " "
	}
	fmt.Fprintln(b, strings.TrimRight(line, " "))
}

func (r Report) writeServices(b *strings.Builder) {
	if len(r.Services) == 0 {
		return
	}
	width := len("SERVICE")
	for _, s := range r.Services {
		width = max(width, len(s.Name))
	}
	fmt.Fprintf(b, "\n%-*s  %7s  %6s  %5s  %10s  %s\n", width, "SERVICE", "PID", "STARTS", "ENDS", "SINCE ms", "LAST END")
	for _, s := range r.Services {
		pid, since := "-", "-"
		if s.PID != 0 {
			pid, since = strconv.Itoa(s.PID), ms(s.Since-r.Start)
		}
		fmt.Fprintf(b, "%-*s  %7s  %6d  %5d  %10s  %s\n", width, s.Name, pid, s.Starts, s.Ends, since, s.LastEnd)
	}
}

// ms returns the milliseconds in d.
func ms(d time.Duration) string { return fmt.Sprintf("%.2f", float64(d)/float64(time.Millisecond)) }
