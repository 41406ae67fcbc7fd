package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// A figure is one measured number of a boot.
type figure struct {
	name, title, unit string
	of                func(sample) float64
	// noReference marks a figure that the reference does not have, because its PID 1 is the agent itself.
	noReference bool
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func mebibytes(kib int) float64 { return float64(kib) / 1024 }

// times and memory are the figures of a boot. benchmarks.json uses the same names.
var (
	times = []figure{
		{name: "start_to_init", title: "kernel start to /init", unit: "ms", of: func(s sample) float64 { return milliseconds(s.init) }},
		{name: "init_to_agent", title: "/init to the agent", unit: "ms", of: func(s sample) float64 { return milliseconds(s.agent - s.init) }},
		{name: "init_to_all", title: "/init to the agent and both networks", unit: "ms", of: func(s sample) float64 { return milliseconds(max(s.agent, s.networks) - s.init) }},
		{name: "start_to_agent", title: "kernel start to the agent", unit: "ms", of: func(s sample) float64 { return milliseconds(s.agent) }},
	}
	memory = []figure{
		{name: "memory_used", title: "memory in use", unit: "MiB", of: func(s sample) float64 { return mebibytes(s.used) }},
		{name: "memory_kept", title: "free, kept by the processor", unit: "MiB", of: func(s sample) float64 { return mebibytes(s.kept) }},
		{name: "resident_first", title: "PID 1, resident", unit: "MiB", of: func(s sample) float64 { return mebibytes(s.first) }, noReference: true},
		{name: "resident_all", title: "all of arcinit, resident", unit: "MiB", of: func(s sample) float64 { return mebibytes(s.all) }, noReference: true},
		{name: "resident_shared", title: "the same, shared pages once", unit: "MiB", of: func(s sample) float64 { return mebibytes(s.shared) }, noReference: true},
	}
)

// bootFigures returns times and memory together.
func bootFigures() []figure { return slices.Concat(times, memory) }

// A spread summarizes a figure over several boots.
type spread struct {
	Median float64 `json:"median"`
	Least  float64 `json:"least"`
	Most   float64 `json:"most"`
}

func spreadOf(samples []sample, f figure) spread {
	values := make([]float64, len(samples))
	for i, s := range samples {
		values[i] = f.of(s)
	}
	slices.Sort(values)
	n := len(values)
	return spread{Median: (values[(n-1)/2] + values[n/2]) / 2, Least: values[0], Most: values[n-1]}
}

// results is the content of benchmarks.json: the figures by architecture.
type results map[string]figures

// figures are the results of one measurement.
type figures struct {
	Date   string `json:"date"`
	Kernel string `json:"kernel"`
	QEMU   string `json:"qemu"`
	Boots  int    `json:"boots_of_each"`
	// ImageBytes has each image's size, by file name.
	ImageBytes map[string]int64 `json:"image_bytes"`
	// Boot has a spread by setting, flow and figure.
	Boot map[string]map[flow]map[string]spread `json:"boot"`
	// Syscalls counts PID 1's system calls until the agent starts, on amd64.
	Syscalls map[flow]int `json:"syscalls_of_pid_1,omitempty"`
}

// images are the files whose size is recorded.
var images = []string{"initramfs.cpio", "initramfs.cpio.zst"}

func (b *bench) imageBytes() (map[string]int64, error) {
	bytes := map[string]int64{}
	for _, name := range images {
		info, err := os.Stat(b.built(name))
		if err != nil {
			return nil, fmt.Errorf("size of an image: %w", err)
		}
		bytes[name] = info.Size()
	}
	return bytes, nil
}

func readResults(docs string) (results, error) {
	var r results
	data, err := os.ReadFile(filepath.Join(docs, "benchmarks.json"))
	if err != nil {
		return nil, fmt.Errorf("read the recorded figures: %w", err)
	}
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, fmt.Errorf("read the recorded figures: %w", err)
	}
	return r, nil
}

func (r results) write(docs string) error {
	data, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return fmt.Errorf("write the figures: %w", err)
	}
	if err := os.WriteFile(filepath.Join(docs, "benchmarks.json"), append(data, '\n'), 0o644); err != nil {
		return fmt.Errorf("write the figures: %w", err)
	}
	return nil
}

// A target is a limit that arcinit has to meet.
type target struct {
	title, unit        string
	reference, arcinit float64
	// is has to be at most limit. format formats both: a ratio to the reference's figure, a difference, or arcinit's figure.
	is, limit float64
	format    string
	// inReadme marks arm64's figures that README shows.
	inReadme bool
}

func (t target) met() bool { return t.is <= t.limit }

// targets compares the medians of arcinit with those of the reference.
func (f figures) targets(arch string) []target {
	ratio := func(title string, s setting, figure string, limit float64, inReadme bool) target {
		ref, is := f.Boot[s.name][reference][figure].Median, f.Boot[s.name][initramfs][figure].Median
		return target{title, "ms", ref, is, is / ref, limit, "%.3f", inReadme}
	}
	used, usedByRef := f.Boot[counted.name][initramfs]["memory_used"].Median, f.Boot[counted.name][reference]["memory_used"].Median
	image := float64(f.ImageBytes["initramfs.cpio"]) / 1e6
	targets := []target{
		ratio("/init to the agent", counted, "init_to_agent", 1/10.0, true),
		ratio("/init to the agent and both networks", counted, "init_to_all", 1/5.5, true),
		ratio("kernel start to the agent", counted, "start_to_agent", map[string]float64{"amd64": 0.6, "arm64": 0.4}[arch], true),
		ratio("/init to the agent by the wall clock, emulated", wall[0], "init_to_agent", 0.7, true),
		ratio("the same with two processors", wall[1], "init_to_agent", 0.6, false),
		{"memory in use", "MiB", usedByRef, used, used - usedByRef, 9, "%+.1f", true},
		{"the image, raw", "MB", 0, image, image, 4.2, "%.2f", false},
	}
	if arch == "amd64" {
		targets = append(targets, ratio("kernel start to the agent, without mitigations", trusted, "start_to_agent", 0.6, false))
	}
	if f.Syscalls != nil {
		calls := float64(f.Syscalls[initramfs])
		targets = append(targets, target{"system calls of PID 1 until the agent starts", "", float64(f.Syscalls[reference]), calls, calls, 700, "%.0f", false})
	}
	return targets
}
