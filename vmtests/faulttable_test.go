//go:build vmtest

package vmtests

import (
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/arcinit/arcinit/pkg/arcsetup"
	"github.com/arcinit/arcinit/pkg/arcsetup/plan"
	"github.com/arcinit/arcinit/vmtests/dhcppeer"
	"github.com/arcinit/arcinit/vmtests/guest"
	"github.com/arcinit/arcinit/vmtests/probe"
)

// errorFaults are the errors that a step is given, errorNumbers their numbers. faults are all that it is given.
var (
	errorNumbers = map[string]syscall.Errno{
		"EPERM": syscall.EPERM, "ENOSPC": syscall.ENOSPC, "ENOENT": syscall.ENOENT,
		"EBUSY": syscall.EBUSY, "EROFS": syscall.EROFS, "ENOMEM": syscall.ENOMEM,
	}
	errorFaults = []string{"EPERM", "ENOSPC", "ENOENT", "EBUSY", "EROFS", "ENOMEM"}
	faults      = append(slices.Clip(errorFaults), "hang", "panic")
)

// noAgent says why the agent does not start when a step fails, noNetwork why the networks do not come up. noButton are
// the steps without which the power button does nothing. The first name in a key is the step's, the others say on
// which kernel.
var (
	noAgent = map[string]string{
		"early":          "the test's agent ends without /dev and /proc",
		"modules, stock": "the share's driver is not loaded",
		"share":          "the agent's program is on the share",
		"agent":          "this step starts the agent",
	}
	noNetwork = map[string]string{
		"early":          "the network daemon's program is found in /proc",
		"modules, stock": "the NICs' drivers are not loaded",
		"network":        "this step starts the network daemon",
	}
	noButton = []string{"early", "modules, stock", "powerbutton"}
)

// sampled are the faults that are tried on the distribution's kernel.
var sampled = map[string]string{"modules": "EPERM", "accounts": "EROFS", "share": "hang", "network": "panic", "agent": "ENOENT"}

// TestFaultTable gives each step of the plan each fault, in a guest of its own, and compares what else goes wrong with
// docs/faults.md. Only steps that need the faulty one may go wrong with it. With UPDATE set in the environment, the test
// writes the table. This project's kernel, which boots fast, gets all faults, the distribution's, whose drivers are
// modules, a few.
func TestFaultTable(t *testing.T) {
	t.Parallel()
	eachKernel(t, func(t *testing.T, k kernel) {
		if k.name != "own" && k.name != "stock" {
			return
		}
		good, _ := startFaulty(t, k, "none", "EPERM")
		before := good.waitReport(t)
		var steps []string
		printed, _, _ := strings.Cut(good.run(t, arcsetup.ProgramPath, "plan").Stdout, "\n\n") // the mounts follow
		for line := range strings.Lines(printed) {
			steps = append(steps, strings.Fields(line)[0])
		}
		steps = steps[1:] // without the headings
		testPowerOff(t, good)

		cells := outcomes(t, stepColumns, faultNames)
		var mu sync.Mutex
		t.Run("steps", func(t *testing.T) {
			for _, step := range steps {
				for _, fault := range faults {
					if k.name == "stock" && sampled[step] != fault {
						continue
					}
					t.Run(step+"/"+fault, func(t *testing.T) {
						t.Parallel()
						outcome := tryFault(t, k, steps, before, step, fault)
						t.Log(outcome)
						mu.Lock()
						defer mu.Unlock()
						cells[cell{on(k, step), fault}] = outcome
					})
				}
			}
		})
		if !t.Failed() {
			checkTable(t, stepColumns, stepRows(cells, append(steps, "modules, stock")))
		}
	})
}

// on is the name in the table for a step on a kernel. Only what the modules are needed for depends on the kernel.
func on(k kernel, step string) string {
	if step == "modules" && k.name == "stock" {
		return "modules, stock"
	}
	return step
}

// startFaulty boots a guest whose step has this fault, and returns when the plan has ended. The peers serve its networks.
func startFaulty(t *testing.T, k kernel, step, fault string) (*machine, []*dhcppeer.Peer) {
	t.Helper()
	parameter := "ARCBOX_FAULT=step_" + step + "=" + fault
	if number, isError := errorNumbers[fault]; isError {
		parameter = fmt.Sprintf("ARCBOX_FAULT=step_%s=%d", step, number)
	}
	host := &hostPort{}
	nics, peers := dhcpPeers(t, time.Hour)
	m := boot(t, image{
		kernel: k.image, initrd: "initramfs-fault.cpio", nics: nics, ports: []guest.Port{host.port("host")},
		// The console shows the lines by which the plan and the shutdown end. The kernel's check of its timer fails where
		// the host is busy.
		cmdline: []string{"loglevel=7", "no_timer_check", "arcbox.notify=virtio-port:host", strings.TrimSuffix(parameter, "=panic")},
	})
	m.waitConsole(t, "guest is up")
	return m, peers
}

// tryFault boots a guest whose step has this fault, checks what must hold whatever a step does, and returns what else
// went wrong, in the words of docs/faults.md.
func tryFault(t *testing.T, k kernel, steps []string, before map[string]plan.Result, step, fault string) string {
	m, peers := startFaulty(t, k, step, fault)
	// Without the share, or without /proc, the failed steps are on the console alone.
	after, onShare := m.failures(before), step != "early" && !strings.Contains(m.ConsoleText(), "step=share outcome=failed")
	if onShare {
		after = m.waitReport(t)
	}
	want := map[string]string{"hang": "still running", "panic": "fault in step_" + step}[fault]
	if number, isError := errorNumbers[fault]; isError {
		want = number.Error()
	}
	checkOutcome(t, after[step], step, "failed", want)

	follows := followers(steps, before, step)
	wrong := map[plan.Outcome][]string{}
	for _, s := range steps {
		got, want := kindOf(after[s]), kindOf(before[s])
		if s == step || got == want {
			continue
		}
		if !slices.Contains(follows, s) {
			t.Errorf("step %s ended %q, not %q, but it does not need step %s: %s", s, got, want, step, after[s].Error)
		}
		wrong[got] = append(wrong[got], s)
	}
	seen := []string{"the agent runs"}
	why, without := noAgent[on(k, step)]
	if without {
		seen[0] = "no agent: " + why
	} else {
		must[probe.AtStart](t, m, "AtStart", none{})
		m.crash(t, 3)
	}
	if why, silent := noNetwork[on(k, step)]; silent {
		seen = append(seen, "no networks: "+why)
	} else {
		for i, p := range peers {
			answers(t, &p.Host, leased[i])
		}
	}
	for _, kind := range []plan.Outcome{plan.Failed, plan.Unavailable, "fallback", plan.OK} {
		if len(wrong[kind]) > 0 {
			seen = append(seen, string(kind)+": "+strings.Join(wrong[kind], ", "))
		}
	}
	switch {
	case !slices.Contains(noButton, on(k, step)):
		m.pressUntilEnd(t)
	case !without:
		seen = append(seen, "no power button")
		testPowerOff(t, m)
	default:
		seen = append(seen, "no power button")
		m.Kill() // PID 1 has written to the console, but hears nobody
	}
	return strings.Join(seen, "; ")
}

// pressUntilEnd presses the power button until the guest is off, which it is within its limit of 25 s. A press may come
// before the driver.
func (m *machine) pressUntilEnd(t *testing.T) {
	t.Helper()
	defer testInTime(t, m)
	for range 12 {
		_ = m.PowerButton(t.Context()) // the guest may have ended
		select {
		case <-m.Ended():
			m.waitEnd(t, "guest-shutdown")
			return
		case <-time.After(5 * time.Second):
		}
	}
	t.Fatal("the power button does not power the guest off")
}

// stepFailed matches the line of a step that failed.
var stepFailed = regexp.MustCompile(`step failed"? step=(\S+) outcome=failed .*err="?([^\n]*)`)

// failures returns the results of a boot as far as its console shows them: the failed steps.
func (m *machine) failures(before map[string]plan.Result) map[string]plan.Result {
	results := maps.Clone(before)
	for _, line := range stepFailed.FindAllStringSubmatch(m.ConsoleText(), -1) {
		r := results[line[1]]
		r.Outcome, r.Error = plan.Failed, r.Error+line[2]
		results[line[1]] = r
	}
	return results
}

// kindOf returns what a step's result means for others: whether it changed anything does not matter to them.
func kindOf(r plan.Result) plan.Outcome {
	switch {
	case r.Outcome != plan.OK && r.Outcome != plan.Already:
		return r.Outcome
	case r.Error != "":
		return "fallback"
	}
	return plan.OK
}

// followers returns the steps that need a step, directly or through others.
func followers(steps []string, results map[string]plan.Result, step string) []string {
	found := []string{step}
	for _, name := range steps {
		if slices.ContainsFunc(results[name].Needs, func(need string) bool { return slices.Contains(found, need) }) {
			found = append(found, name)
		}
	}
	return found
}

// cell is a place in a table of docs/faults.md: of a step and a fault, or of a fault and when it happens.
type cell struct{ row, column string }

// Tables of docs/faults.md have these columns.
const (
	stepColumns = "| step | fault | outcome |"
	realColumns = "| fault | when | outcome |"
)

const faultsPage = "../docs/faults.md"

// faultsPageMu is held while a test reads and writes docs/faults.md, in which another test may write its own table.
var faultsPageMu sync.Mutex

// readTable returns the table in docs/faults.md with these columns, and the text around the table.
func readTable(t *testing.T, columns string) (before, table, after string) {
	t.Helper()
	text, err := os.ReadFile(faultsPage)
	if err != nil {
		t.Fatal(err)
	}
	parts := regexp.MustCompile(`(?s)^(.*\n` + regexp.QuoteMeta(columns) + `\n[-|]+\n)((?:\|[^\n]*\n)*)(.*)$`).FindStringSubmatch(string(text))
	if parts == nil {
		t.Fatalf("docs/faults.md has no table %s", columns)
	}
	return parts[1], parts[2], parts[3]
}

// outcomes returns the cells of the table with these columns. names returns the columns that a name in the page stands for.
func outcomes(t *testing.T, columns string, names func(string) []string) map[cell]string {
	t.Helper()
	faultsPageMu.Lock()
	defer faultsPageMu.Unlock()
	cells := map[cell]string{}
	_, table, _ := readTable(t, columns)
	for line := range strings.Lines(table) {
		fields := strings.Split(strings.Trim(line, "|\n "), " | ")
		for _, name := range names(fields[1]) {
			cells[cell{fields[0], name}] = fields[2]
		}
	}
	return cells
}

// checkTable compares these rows with the table in docs/faults.md, or writes them there.
func checkTable(t *testing.T, columns string, rows [][3]string) {
	t.Helper()
	faultsPageMu.Lock()
	defer faultsPageMu.Unlock()
	var b strings.Builder
	for _, row := range rows {
		fmt.Fprintf(&b, "| %s |\n", strings.Join(row[:], " | "))
	}
	before, table, after := readTable(t, columns)
	if b.String() == table {
		return
	}
	if os.Getenv("UPDATE") == "" {
		t.Errorf("docs/faults.md has another table (make faults writes it):\n%s", b.String())
		return
	}
	if err := os.WriteFile(faultsPage, []byte(before+b.String()+after), 0o644); err != nil {
		t.Fatal(err)
	}
}

// faultNames returns the faults that the page names together.
func faultNames(with string) (names []string) {
	for _, fault := range faults {
		if with == "any" || strings.Contains(with, fault) || strings.Contains(with, "any error") && slices.Contains(errorFaults, fault) {
			names = append(names, fault)
		}
	}
	return names
}

// stepRows returns the rows of the steps: a row for all faults of a step that have the same outcome.
func stepRows(cells map[cell]string, steps []string) (rows [][3]string) {
	for _, step := range steps {
		with := map[string][]string{} // outcome to faults
		for _, fault := range faults {
			outcome := cells[cell{step, fault}]
			with[outcome] = append(with[outcome], fault)
		}
		for _, fault := range faults {
			outcome := cells[cell{step, fault}]
			if all := with[outcome]; outcome != "" && all[0] == fault {
				names := strings.Join(all, ", ")
				names = strings.Replace(names, strings.Join(errorFaults, ", "), "any error", 1)
				names = strings.Replace(names, "any error, hang, panic", "any", 1)
				rows = append(rows, [3]string{step, names, outcome})
			}
		}
	}
	return rows
}
