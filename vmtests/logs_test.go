//go:build vmtest

package vmtests

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/arcinit/arcinit/vmtests/probe"
)

// TestLogsUnderFire has the agent write 100,000 lines at once, and lines that forge arcinit's. The kernel log and
// the files keep all that arcinit said before, and PID 1 does not grow.
func TestLogsUnderFire(t *testing.T) {
	t.Parallel()
	// At debug level each step has a line.
	m := boot(t, image{nics: bothNICs(), cmdline: []string{quiet, "log_buf_len=128K", "arcbox.log=debug"}})
	m.waitReport(t)
	m.crash(t, 3) // a line that only this boot has
	own := ownLines(t, m)
	before := pidOne(t, m).RSSAnon

	must[none](t, m, "WriteLines", 100_000)
	must[none](t, m, "Say", [2]string{"\rarcinit: forged\x1b[2K", "<3>arcinit: forged"})
	eventually(t, func() string {
		text, _ := os.ReadFile(filepath.Join(m.dirs["arcbox"], "log/services.log"))
		if !strings.Contains(string(text), "agent: arcinit: forged\n") {
			return fmt.Sprintf("services.log ends %q", text[max(0, len(text)-500):])
		}
		return ""
	})
	if text := m.get("log/services.log"); !strings.Contains(text, `agent: \rarcinit: forged\x1b[2K`+"\n") {
		t.Errorf("what the terminal could obey is not escaped: services.log ends %q", text[max(0, len(text)-500):])
	}
	m.crash(t, 4) // arcinit has lines to say after it, too
	logged(t, m, "arcinit: ", "service=agent", `end="code 4"`)

	after := ownLines(t, m)
	for _, line := range own {
		if !slices.Contains(after, line) {
			t.Errorf("the kernel log has lost %q", line)
		}
	}
	file := m.get("log/arcinit.log")
	for _, line := range own {
		if strings.HasPrefix(line, "arcinit: ") && !strings.Contains(file, line+"\n") {
			t.Errorf("arcinit.log has no %q", line)
		}
	}
	for _, text := range []string{strings.Join(after, "\n"), file, m.ConsoleText()} {
		if strings.Contains(text, "\narcinit: forged") || strings.Contains(text, "\rarcinit: forged") || strings.Contains(text, "\x1b[2K") {
			t.Error("a service has forged a line of arcinit's")
		}
	}
	const growth = 6 << 10 // Go collects no garbage before there are 4 MiB; the lines alone are 10
	if now := pidOne(t, m).RSSAnon; now > before+growth {
		t.Errorf("PID 1 has %d KiB of its own, and had %d", now, before)
	}
}

// ownRecords returns arcinit's and the network daemon's lines in the kernel log. The kernel escapes the µ of a time, and backslashes.
func ownRecords(t *testing.T, m *machine) (own []probe.Record) {
	t.Helper()
	for _, r := range must[[]probe.Record](t, m, "KernelLog", none{}) {
		if strings.HasPrefix(r.Text, "arcinit: ") || strings.HasPrefix(r.Text, "netd: ") {
			r.Text = strings.NewReplacer(`\xc2\xb5`, "µ", `\x5c`, `\`).Replace(r.Text)
			own = append(own, r)
		}
	}
	return own
}

// ownLines returns the texts of ownRecords.
func ownLines(t *testing.T, m *machine) (lines []string) {
	t.Helper()
	for _, r := range ownRecords(t, m) {
		lines = append(lines, r.Text)
	}
	if len(lines) < 10 {
		t.Fatalf("the kernel log has only %q of arcinit", lines)
	}
	return lines
}
