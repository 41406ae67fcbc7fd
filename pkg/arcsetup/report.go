package arcsetup

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"sort"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/arcinit/arcinit/internal/process"
	"github.com/arcinit/arcinit/pkg/arcsetup/config"
	"github.com/arcinit/arcinit/pkg/arcsetup/plan"
)

// Report is the result of a boot, kept as JSON in ReportPath. Times are since the kernel's boot, in nanoseconds.
type Report struct {
	Version string `json:"version"` // of arcinit
	Kernel  string `json:"kernel"`  // release and architecture
	// Role is "init" as PID 1, "uinit" under another init, "repeat" for a set-up that was run again.
	Role string `json:"role"`
	// Start is when the program began. PlanEnded is when its last step had ended,
	// AgentStarted when the agent was first started; both are zero until then.
	Start        time.Duration           `json:"start_ns"`
	PlanEnded    time.Duration           `json:"plan_ended_ns,omitempty"`
	AgentStarted time.Duration           `json:"agent_started_ns,omitempty"`
	Steps        []plan.Result           `json:"steps"`
	Services     []process.ServiceStatus `json:"services,omitempty"`
	// Config says which file, or the kernel command line, set each of the settings that are not defaults.
	Config config.From `json:"config,omitempty"`
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

// WriteTable writes the report as text: a line for each step, in the order of their start, and each service.
func (r Report) WriteTable(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintf(table, "arcinit %s on Linux %s, as %s, started %s ms after the kernel\n", r.Version, r.Kernel, r.Role, ms(r.Start))
	_, _ = fmt.Fprintf(table, "%9s\t%9s\tSTEP\tOUTCOME\tERROR\n", "AT ms", "TOOK ms")
	for _, s := range r.ByStart() {
		_, _ = fmt.Fprintf(table, "%9s\t%9s\t%s\t%s\t%s\n", ms(s.Start-r.Start), ms(s.End-s.Start), s.Step, s.Outcome, strings.ReplaceAll(s.Error, "\n", "; "))
	}
	count := r.Count()
	switch {
	case r.AgentStarted != 0:
		count += fmt.Sprintf("; agent started %s ms after /init", ms(r.AgentStarted-r.Start))
	case r.PlanEnded != 0:
		count += "; the agent has not started"
	}
	_, _ = fmt.Fprintln(table, count)
	if len(r.Services) > 0 {
		_, _ = fmt.Fprintf(table, "\nSERVICE\tPID\tSTARTS\tENDS\t%9s\tLAST END\n", "SINCE ms")
	}
	for _, s := range r.Services {
		pid, since := map[bool]string{true: "failed", false: "-"}[s.Failed], "-"
		if s.PID != 0 {
			pid, since = strconv.Itoa(s.PID), ms(s.Since-r.Start)
		}
		_, _ = fmt.Fprintf(table, "%s\t%s\t%d\t%d\t%9s\t%s\n", s.Name, pid, s.Starts, s.Ends, since, s.LastEnd)
	}
	r.Config.WriteTable(table)
	if err := table.Flush(); err != nil {
		return fmt.Errorf("print the boot report: %w", err)
	}
	return nil
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

// ms returns the milliseconds in d.
func ms(d time.Duration) string { return fmt.Sprintf("%.2f", float64(d)/float64(time.Millisecond)) }
