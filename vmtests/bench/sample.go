package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/arcinit/arcinit/pkg/arcsetup"
	"github.com/arcinit/arcinit/pkg/arcsetup/plan"
)

// A sample is what one boot was seen to cost. Times are the kernel log's, which begin when the kernel has its clock.
type sample struct {
	// init is when the kernel starts the first program.
	init time.Duration
	// agent is when the set-up is complete, but for what arcinit leaves to its network daemon.
	agent time.Duration
	// networks is when both NICs have their addresses.
	networks time.Duration
	// used is the memory that is not available to programs, in KiB.
	used int
	// first and all are resident in PID 1 and in all programs but the stopwatch, in KiB; shared is all with what they share
	// counted once.
	first, all, shared int
	// cmdline is the length of the kernel command line.
	cmdline int
}

// What notes in the kernel log mean, by flow.
var (
	initMark     = regexp.MustCompile(`^Run /\S+ as init process`)
	agentMark    = map[bool]string{true: "reference: done", false: "stopwatch: agent"}
	leaseMark    = regexp.MustCompile(`^netd: NIC configured nic=(\S+)`)
	networksMark = map[bool]string{true: "reference: networks", false: "stopwatch: networks"}
)

// readSample reads what the stopwatch left on the share, of a guest with so many NICs. A boot in which something failed is no
// sample.
func readSample(arcbox string, f flow, nics int) (sample, error) {
	var s sample
	text := map[string]string{}
	for _, name := range []string{"kmsg", "meminfo", "processes", "cmdline"} {
		data, err := os.ReadFile(filepath.Join(arcbox, "stopwatch", name))
		if err != nil {
			return s, fmt.Errorf("read what the stopwatch saw: %w", err)
		}
		text[name] = string(data)
	}
	if err := s.readLog(text["kmsg"], f == reference, nics); err != nil {
		return s, err
	}
	if err := s.readMemory(text["meminfo"], text["processes"]); err != nil {
		return s, err
	}
	s.cmdline = len(strings.TrimSpace(text["cmdline"]))
	if f == reference {
		return s, nil
	}
	data, err := os.ReadFile(filepath.Join(arcbox, "log", "boot.json"))
	if err != nil {
		return s, fmt.Errorf("read the boot's report: %w", err)
	}
	report, err := arcsetup.ParseReport(data)
	if err != nil {
		return s, err
	}
	for _, step := range report.Steps {
		if step.Outcome == plan.Failed {
			return s, fmt.Errorf("the step %s failed", step.Step)
		}
	}
	return s, nil
}

// readLog finds the times in a copy of /dev/kmsg.
func (s *sample) readLog(log string, ofReference bool, nics int) error {
	at, leases := map[string]time.Duration{}, map[string]time.Duration{}
	for record := range strings.Lines(log) {
		prefix, text, ok := strings.Cut(strings.TrimSpace(record), ";")
		fields := strings.Split(prefix, ",")
		if !ok || len(fields) < 4 {
			continue // more of a record, such as SUBSYSTEM=
		}
		µs, err := strconv.Atoi(fields[2])
		if err != nil {
			return fmt.Errorf("kernel log: %q: %w", record, err)
		}
		when := time.Duration(µs) * time.Microsecond
		if why, failed := strings.CutPrefix(text, "reference: failed: "); failed {
			return fmt.Errorf("the reference failed: %s", why)
		}
		if initMark.MatchString(text) {
			text = "init"
		}
		// The first time counts: what is done again costs the boot nothing.
		if _, seen := at[text]; !seen {
			at[text] = when
		}
		if m := leaseMark.FindStringSubmatch(text); m != nil && leases[m[1]] == 0 {
			leases[m[1]] = when
		}
	}
	for _, t := range []struct {
		mark string
		time *time.Duration
	}{
		{"init", &s.init}, {agentMark[ofReference], &s.agent}, {networksMark[ofReference], &s.networks},
	} {
		when, ok := at[t.mark]
		if !ok {
			return fmt.Errorf("no %q in the kernel log:\n%s", t.mark, log)
		}
		*t.time = when
	}
	if ofReference {
		return nil
	}
	// The stopwatch has seen the addresses, but it begins after they may be there. So when they came the daemon's lines say.
	if len(leases) != nics {
		return fmt.Errorf("%d of %d NICs were configured", len(leases), nics)
	}
	s.networks = slices.Max(slices.Collect(maps.Values(leases)))
	return nil
}

// readMemory reads a /proc/meminfo, and the smaps_rollup of each process behind its number.
func (s *sample) readMemory(meminfo, processes string) error {
	var total, available int
	for line := range strings.Lines(meminfo) {
		_, _ = fmt.Sscanf(line, "MemTotal: %d kB", &total)
		_, _ = fmt.Sscanf(line, "MemAvailable: %d kB", &available)
	}
	if total == 0 || available == 0 {
		return fmt.Errorf("no MemTotal and MemAvailable in %q", meminfo)
	}
	s.used = total - available
	process := 0
	for line := range strings.Lines(processes) {
		var size int
		if _, err := fmt.Sscanf(line, "Process: %d", &process); err == nil {
			continue
		}
		if _, err := fmt.Sscanf(line, "Rss: %d kB", &size); err == nil {
			s.all += size
			if process == 1 {
				s.first = size
			}
		}
		if _, err := fmt.Sscanf(line, "Pss: %d kB", &size); err == nil {
			s.shared += size
		}
	}
	return nil
}
