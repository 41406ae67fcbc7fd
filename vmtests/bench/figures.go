package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/arcinit/arcinit/vmtests/guest"
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
		{name: "init_to_networks", title: "/init to both networks up", unit: "ms", of: func(s sample) float64 { return milliseconds(s.networks - s.init) }},
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

// clocks names the clock that a guest runs by: instructions counted by QEMU, or the wall clock.
var clocks = map[guest.Accel]string{guest.Counted: "instructions", guest.TCG: "wall"}

// figures is the content of benchmarks.json: the results of one measurement.
type figures struct {
	Date   string `json:"date"`
	Kernel string `json:"kernel"`
	QEMU   string `json:"qemu"`
	Boots  int    `json:"boots_of_each"`
	// ImageBytes has each image's size, by file name.
	ImageBytes map[string]int64 `json:"image_bytes"`
	// Boot has a spread by flow, clock and figure.
	Boot map[flow]map[string]map[string]spread `json:"boot"`
	// Syscalls counts PID 1's system calls until the agent starts.
	Syscalls map[flow]int `json:"syscalls_of_pid_1"`
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

func readFigures(docs string) (figures, error) {
	var f figures
	data, err := os.ReadFile(filepath.Join(docs, "benchmarks.json"))
	if err != nil {
		return f, fmt.Errorf("read the recorded figures: %w", err)
	}
	if err := json.Unmarshal(data, &f); err != nil {
		return f, fmt.Errorf("read the recorded figures: %w", err)
	}
	return f, nil
}

func (f figures) write(docs string) error {
	data, err := json.MarshalIndent(f, "", "\t")
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
	what, unit string
	// least and median are those of all boots.
	least, median limited
}

// limited is a number and its upper limit.
type limited struct{ is, limit float64 }

func (l limited) met() bool { return l.is <= l.limit }

// met reports whether the least and the median of the boots are within their limits. The least is a boot's real cost, since
// waiting only adds to it. The median is what users see.
func (t target) met() bool { return t.least.met() && t.median.met() }

// targets compares arcinit's figures, counted in instructions, with the reference's from the same run.
func (f figures) targets() []target {
	of := func(name, what string, limit func(ofReference float64) float64, unit string) target {
		is, ref := f.Boot[initramfs][clocks[guest.Counted]][name], f.Boot[reference][clocks[guest.Counted]][name]
		return target{
			what: what, unit: unit,
			least: limited{is.Least, limit(ref.Least)}, median: limited{is.Median, limit(ref.Median)},
		}
	}
	times := func(factor float64) func(float64) float64 { return func(ref float64) float64 { return ref * factor } }
	image := limited{float64(f.ImageBytes["initramfs.cpio"]) / 1e6, 4}
	return []target{
		of("init_to_agent", "/init to the agent, at most 1/14 of the reference's", times(1.0/14), "ms"),
		of("init_to_networks", "/init to both networks up, at most 1/7 of the reference's", times(1.0/7), "ms"),
		of("start_to_agent", "kernel start to the agent, at most 0.55 of the reference's", times(0.55), "ms"),
		{what: "the image, raw, at most 4 MB", unit: "MB", least: image, median: image},
		of("memory_used", "memory in use, at most the reference's and 6 MiB", func(ref float64) float64 { return ref + 6 }, "MiB"),
	}
}
