package arcsetup

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/arcinit/arcinit/pkg/arcsetup/pid1"
	"github.com/arcinit/arcinit/pkg/arcsetup/plan"
)

// Report is what became of a boot, as it is kept in ReportPath. Times are since
// the kernel's boot, in nanoseconds.
type Report struct {
	Version string `json:"version"` // of arcinit
	Kernel  string `json:"kernel"`  // release and architecture
	// Role is "init" as PID 1, "uinit" under another init.
	Role string `json:"role"`
	// Start is when the program began, Ready when the agent had been started;
	// zero until then.
	Start    time.Duration        `json:"start_ns"`
	Ready    time.Duration        `json:"ready_ns,omitempty"`
	Steps    []plan.Result        `json:"steps"`
	Services []pid1.ServiceStatus `json:"services,omitempty"`
}

// ParseReport reads a report that was written as JSON.
func ParseReport(data []byte) (Report, error) {
	var r Report
	if err := json.Unmarshal(data, &r); err != nil {
		return r, fmt.Errorf("boot report: %w", err)
	}
	return r, nil
}

// Count says how many steps ended in which way, failures by name.
func (r Report) Count() string {
	counts := map[plan.Outcome]int{}
	var failed []string
	for _, s := range r.Steps {
		counts[s.Outcome]++
		if s.Outcome == plan.Failed {
			failed = append(failed, s.Step)
		}
	}
	text := fmt.Sprintf("%d steps", len(r.Steps))
	for _, o := range []plan.Outcome{plan.OK, plan.Already, plan.Unavailable, plan.Failed} {
		if counts[o] > 0 {
			text += fmt.Sprintf(", %d %s", counts[o], o)
		}
	}
	if failed != nil {
		text += " (" + strings.Join(failed, " ") + ")"
	}
	return text
}

// WriteTable prints the report for a reader: a line a step in the order in which
// they ended, and what is to be said of it.
func (r Report) WriteTable(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "arcinit %s on Linux %s, as %s, started %s after the kernel\n",
		r.Version, r.Kernel, r.Role, ms(r.Start))
	width := len("STEP")
	for _, s := range r.Steps {
		width = max(width, len(s.Step))
	}
	fmt.Fprintf(&b, "%10s %10s  %-*s  %-11s  %s\n", "AT ms", "TOOK ms", width, "STEP", "OUTCOME", "WHAT")
	for _, s := range r.Steps {
		what := s.Doc
		if s.Error != "" {
			what = strings.ReplaceAll(s.Error, "\n", "; ")
		}
		fmt.Fprintf(&b, "%10s %10s  %-*s  %-11s  %s\n",
			number(s.Start-r.Start), number(s.End-s.Start), width, s.Step, s.Outcome, what)
	}
	b.WriteString(r.Count())
	if r.Ready != 0 {
		fmt.Fprintf(&b, "; agent started %s after /init", ms(r.Ready-r.Start))
	}
	b.WriteString("\n")
	r.writeServices(&b)
	_, err := io.WriteString(w, b.String())
	return err
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
			pid, since = strconv.Itoa(s.PID), number(s.Since-r.Start)
		}
		fmt.Fprintf(b, "%-*s  %7s  %6d  %5d  %10s  %s\n", width, s.Name, pid, s.Starts, s.Ends, since, s.LastEnd)
	}
}

func number(d time.Duration) string { return fmt.Sprintf("%.2f", float64(d)/float64(time.Millisecond)) }

func ms(d time.Duration) string { return number(d) + " ms" }
