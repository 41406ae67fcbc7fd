package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/arcinit/arcinit/pkg/arcsetup"
	"github.com/arcinit/arcinit/pkg/arcsetup/netd"
	"github.com/arcinit/arcinit/pkg/arcsetup/plan"
)

// A sample has the measurements of one boot. Times are timestamps of the kernel log, which start when the kernel sets up
// its clock.
type sample struct {
	// init is when the kernel runs the first program.
	init time.Duration
	// agent is when the agent starts. By then the set-up is complete, except for arcinit's network daemon.
	agent time.Duration
	// networks is when both NICs have their addresses.
	networks time.Duration
	// used is the memory in use, in KiB: MemTotal minus MemAvailable and minus kept, the free pages that each processor keeps
	// for its own next allocations.
	used, kept int
	// first is the resident memory of PID 1 in KiB, all that of all programs but the stopwatch. shared is all, with shared
	// pages counted once.
	first, all, shared int
	// cmdline is the length of the kernel command line.
	cmdline int
}

// The lines of the kernel log that mark a point of the boot. The keys say whether the flow is the reference.
var (
	initMark     = regexp.MustCompile(`^Run /\S+ as init process`)
	agentMark    = map[bool]string{true: "reference: done", false: "stopwatch: agent"}
	clockMark    = regexp.MustCompile(`^stopwatch: boottime (\d+)$`)
	networksMark = map[bool]string{true: "reference: networks", false: "stopwatch: networks"}
)

// readSample reads the stopwatch's files on the share of a guest with this number of NICs. It returns an error if a step of
// the boot failed.
func readSample(arcbox string, f flow, nics int) (sample, error) {
	var s sample
	text := map[string]string{}
	for _, name := range []string{"kmsg", "meminfo", "zoneinfo", "processes", "cmdline"} {
		data, err := os.ReadFile(filepath.Join(arcbox, "stopwatch", name))
		if err != nil {
			return s, fmt.Errorf("read the stopwatch's files: %w", err)
		}
		text[name] = string(data)
	}
	offset, err := s.readLog(text["kmsg"], f == reference)
	if err != nil {
		return s, err
	}
	if err := s.readMemory(text["meminfo"], text["zoneinfo"], text["processes"]); err != nil {
		return s, err
	}
	s.cmdline = len(strings.TrimSpace(text["cmdline"]))
	if f == reference {
		return s, nil
	}
	network, err := netd.ReadReport(filepath.Join(arcbox, "stopwatch", "net.json"))
	if err != nil {
		return s, err
	}
	if err := s.readNetwork(network, offset, nics); err != nil {
		return s, err
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

// readLog reads the times from a copy of /dev/kmsg. offset is by how much the kernel log's clock is ahead of CLOCK_BOOTTIME.
func (s *sample) readLog(log string, ofReference bool) (offset time.Duration, err error) {
	at := map[string]time.Duration{}
	for record := range strings.Lines(log) {
		prefix, text, ok := strings.Cut(strings.TrimSpace(record), ";")
		fields := strings.Split(prefix, ",")
		if !ok || len(fields) < 4 {
			continue // a continuation line of a record, such as SUBSYSTEM=
		}
		µs, err := strconv.Atoi(fields[2])
		if err != nil {
			return 0, fmt.Errorf("kernel log: %q: %w", record, err)
		}
		when := time.Duration(µs) * time.Microsecond
		if why, failed := strings.CutPrefix(text, "reference: failed: "); failed {
			return 0, fmt.Errorf("the reference failed: %s", why)
		}
		if initMark.MatchString(text) {
			text = "init"
		}
		// The first time counts. A later repetition is not part of the boot.
		if _, seen := at[text]; !seen {
			at[text] = when
		}
		if m := clockMark.FindStringSubmatch(text); m != nil {
			boottime, err := strconv.ParseInt(m[1], 10, 64)
			if err != nil {
				return 0, fmt.Errorf("kernel log: %q: %w", record, err)
			}
			offset = when - time.Duration(boottime)
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
			return 0, fmt.Errorf("no %q in the kernel log:\n%s", t.mark, log)
		}
		*t.time = when
	}
	return offset, nil
}

// readNetwork takes the time of the networks from the daemon's report: the addresses may be there before the stopwatch starts.
func (s *sample) readNetwork(r netd.Report, offset time.Duration, nics int) error {
	if len(r.NICs) != nics {
		return fmt.Errorf("%d of %d NICs are in the network report", len(r.NICs), nics)
	}
	s.networks = 0
	for _, n := range r.NICs {
		if n.ConfiguredNS == 0 {
			return fmt.Errorf("%s was not configured", n.Name)
		}
		s.networks = max(s.networks, time.Duration(n.ConfiguredNS)+offset)
	}
	return nil
}

// readMemory parses /proc/meminfo, /proc/zoneinfo, and the processes' smaps_rollup files, each after a line with its process ID.
func (s *sample) readMemory(meminfo, zoneinfo, processes string) error {
	var total, available int
	for line := range strings.Lines(meminfo) {
		_, _ = fmt.Sscanf(line, "MemTotal: %d kB", &total)
		_, _ = fmt.Sscanf(line, "MemAvailable: %d kB", &available)
	}
	if total == 0 || available == 0 {
		return fmt.Errorf("no MemTotal and MemAvailable in %q", meminfo)
	}
	for line := range strings.Lines(zoneinfo) {
		var count int // of pages of 4 KiB
		_, _ = fmt.Sscanf(line, " count: %d", &count)
		s.kept += 4 * count
	}
	s.used = total - available - s.kept
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
