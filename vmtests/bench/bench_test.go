package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/arcinit/arcinit/pkg/arcsetup/netd"
)

func TestLog(t *testing.T) {
	const log = "6,100,1000,-;Linux version\n SUBSYSTEM=x\n6,200,500000,-;Run /init as init process\n" +
		"12,303,505500,-;stopwatch: agent\n12,304,505600,-;stopwatch: boottime 503600000\n" +
		"12,304,506000,-;stopwatch: networks\n12,305,907000,-;stopwatch: agent\n"
	var s sample
	offset, err := s.readLog(log, false)
	if err != nil {
		t.Fatal(err)
	}
	if s.init != 500*time.Millisecond || s.agent != 505500*time.Microsecond || offset != 2*time.Millisecond {
		t.Errorf("got %v, %v, %v", s.init, s.agent, offset)
	}
	network := netd.Report{NICs: []netd.NIC{{Name: "eth0", ConfiguredNS: 501e6}, {Name: "eth1", ConfiguredNS: 499e6}}}
	if err := s.readNetwork(network, offset, 2); err != nil || s.networks != 503*time.Millisecond {
		t.Errorf("the networks were up at %v, %v", s.networks, err)
	}
	if err := s.readNetwork(network, offset, 3); err == nil {
		t.Error("no error, although one of three NICs is not in the report")
	}
	network.NICs[1].ConfiguredNS = 0
	if err := s.readNetwork(network, offset, 2); err == nil {
		t.Error("no error, although one NIC was not configured")
	}
	if _, err := s.readLog(log, true); err == nil || !strings.Contains(err.Error(), "reference: done") {
		t.Errorf("error %v for a log without the reference's lines, want one that names the missing line", err)
	}
	const ofReference = "6,2,500,-;Run /sbin/init as init process\n12,3,600,-;reference: networks\n12,4,700,-;reference: done\n"
	if _, err := s.readLog(ofReference, true); err != nil || s.agent != 700*time.Microsecond {
		t.Errorf("the reference's agent started at %v, %v", s.agent, err)
	}
	if _, err := s.readLog(ofReference+"12,5,800,-;reference: failed: iptables\n", true); err == nil {
		t.Error("no error for a reference that failed")
	}
}

func TestMemory(t *testing.T) {
	var s sample
	err := s.readMemory("MemTotal: 2048 kB\nMemFree: 1 kB\nMemAvailable: 1024 kB\n",
		"Node 0, zone    DMA32\n  pages free     1\n    cpu: 0\n              count: 6\n              high:  63\n              count: 4\n",
		"Process: 1\n0-1 ---p [rollup]\nRss: 30 kB\nPss: 20 kB\nPss_Dirty: 5 kB\nProcess: 17\nRss: 12 kB\nPss: 7 kB\n")
	if err != nil || s.used != 984 || s.kept != 40 || s.first != 30 || s.all != 42 || s.shared != 27 {
		t.Errorf("got %+v, %v", s, err)
	}
	if err := s.readMemory("", "", ""); err == nil {
		t.Error("no error for an empty /proc/meminfo")
	}
}

func TestSpread(t *testing.T) {
	for _, test := range []struct {
		values []time.Duration
		want   spread
	}{
		{[]time.Duration{3, 1, 2}, spread{Median: 2, Least: 1, Most: 3}},
		{[]time.Duration{4, 1, 2, 3}, spread{Median: 2.5, Least: 1, Most: 4}},
	} {
		var samples []sample
		for _, v := range test.values {
			samples = append(samples, sample{init: v * time.Millisecond})
		}
		if got := spreadOf(samples, times[0]); got != test.want {
			t.Errorf("%v: got %+v", test.values, got)
		}
	}
}

func TestCompare(t *testing.T) {
	worse := map[string]string{}
	if compare(worse, "image", 5_313_772, 4_713_772, "bytes") || worse["image"] == "" {
		t.Error("600,000 bytes more are not reported")
	}
	if !compare(worse, "image", 4_800_000, 4_713_772, "bytes") || len(worse) != 0 {
		t.Errorf("86,228 bytes more, after a larger image was reported: %v", worse)
	}
	if compare(worse, "new", 1, 0, "ms") {
		t.Error("a figure that is not recorded is accepted")
	}
}

func TestLinear(t *testing.T) {
	for _, test := range []struct {
		took []time.Duration
		ok   bool
	}{
		{[]time.Duration{600, 609, 621}, true},
		{[]time.Duration{600, 590, 594}, true}, // the host answered the first boot late
		{[]time.Duration{600, 609, 640}, false},
	} {
		s := series{unit: "shares", size: []int{3, 12, 24}}
		for _, ms := range test.took {
			s.took = append(s.took, ms*time.Millisecond)
		}
		err := s.linear()
		var superlinear superlinearError
		if (err == nil) != test.ok || (err != nil && !errors.As(err, &superlinear)) {
			t.Errorf("%v: %v", test.took, err)
		}
	}
}

func TestDoubled(t *testing.T) {
	for _, test := range []struct {
		half, all time.Duration
		ok        bool
	}{
		{2 * time.Second, 2 * time.Second, true}, {2 * time.Second, 5900 * time.Millisecond, true}, {2 * time.Second, 6100 * time.Millisecond, false},
	} {
		if err := doubled(8, test.half, test.all); (err == nil) != test.ok {
			t.Errorf("%v and %v: %v", test.half, test.all, err)
		}
	}
}

func TestSyscalls(t *testing.T) {
	type call struct{ rax, rdi, cr3 uint64 }
	for name, test := range map[string]struct {
		calls       []call
		first, want int // up to the first program of a child, and in all
	}{
		// PID 1 spawns a program and continues; then it spawns the agent.
		"children": {[]call{{0, 0, 0x5000}, {56, 0x4111, 0x5000}, {33, 0, 0x5000}, {59, 0, 0x5000}, {0, 0, 0x7000}, {1, 0, 0x5000},
			{56, 0x50f00, 0x5000}, {58, 0, 0x5000}, {59, 0, 0x5000}, {0, 0, 0x9000}, {1, 0, 0x5000}}, 4, 8},
		// PID 1 forks, its child executes a program, and then it becomes the agent.
		"itself": {[]call{{0, 0, 0x5000}, {56, 0x1200011, 0x5000}, {59, 0, 0x7000}, {0, 0, 0x7000}, {61, 0, 0x5000}, {59, 0, 0x5000},
			{1, 0, 0x8000}, {59, 0, 0x8000}, {1, 0, 0xa000}}, 6, 6},
		"failed exec": {[]call{{59, 0, 0x5000}, {59, 0, 0x5000}, {1, 0, 0x6000}}, 2, 2},
	} {
		var log strings.Builder
		for _, c := range test.calls {
			fmt.Fprintf(&log, "RAX=%016x RBX=0 RCX=0 RDX=0\nRSI=0 RDI=%016x\nCR0=80050033 CR2=0 CR3=%016x CR4=0\n", c.rax, c.rdi, c.cr3)
		}
		first, errFirst := syscallsOfFirst(strings.NewReader(log.String()), true)
		if got, err := syscallsOfFirst(strings.NewReader(log.String()), false); err != nil || errFirst != nil || got != test.want || first != test.first {
			t.Errorf("%s: got %d and %d, %v, %v, want %d and %d", name, first, got, errFirst, err, test.first, test.want)
		}
	}
	if _, err := syscallsOfFirst(strings.NewReader(""), false); err == nil {
		t.Error("no error for an empty log")
	}
}

func TestParameters(t *testing.T) {
	whole := withParameters([]byte("image"), 4096)
	data, ok := strings.CutSuffix(string(whole), "#BOOTCONFIG\n")
	if !ok || len(whole)%4 != 0 {
		t.Fatalf("%d bytes that end in %q", len(whole), whole[len(whole)-12:])
	}
	size := int(binary.LittleEndian.Uint32([]byte(data[len(data)-8:])))
	text := data[len(data)-8-size : len(data)-8]
	if !strings.HasPrefix(text, "kernel.initcall_blacklist") || len(text) < 4096 || !strings.HasPrefix(data, "image\x00\x00\x00kernel.") {
		t.Errorf("%d bytes: %q", size, data)
	}
}

func TestTargets(t *testing.T) {
	spreads := func(agent, all, start, memory float64) map[string]spread {
		return map[string]spread{
			"init_to_agent": {Median: agent}, "init_to_all": {Median: all}, "start_to_agent": {Median: start}, "memory_used": {Median: memory},
		}
	}
	f := figures{
		ImageBytes: map[string]int64{"initramfs.cpio": 4_200_001},
		Boot: map[string]map[flow]map[string]spread{
			"instructions": {reference: spreads(100, 100, 200, 20), initramfs: spreads(9, 20, 100, 29)},
			"trusted":      {reference: spreads(100, 100, 200, 20), initramfs: spreads(9, 20, 121, 29)},
			"wall-1":       {reference: spreads(100, 100, 200, 20), initramfs: spreads(69, 100, 200, 20)},
			"wall-2":       {reference: spreads(100, 100, 200, 20), initramfs: spreads(61, 100, 200, 20)},
		},
		Syscalls: map[flow]int{reference: 400, initramfs: 700},
	}
	for arch, want := range map[string][]bool{
		"amd64": {true, false, true, true, false, true, false, false, true},
		"arm64": {true, false, false, true, false, true, false, true},
	} {
		for i, target := range f.targets(arch) {
			if target.met() != want[i] {
				t.Errorf("%s: %s", arch, target.Row())
			}
		}
	}
}

// TestRecorded compares what the pages say with the recorded figures.
func TestRecorded(t *testing.T) {
	const docs, again = "../../docs", "; `go run ./vmtests/bench tables` writes them"
	r, err := readResults(docs)
	if err != nil {
		t.Fatal(err)
	}
	page, err := r.page()
	if got, errGot := os.ReadFile(docs + "/benchmarks.md"); err != nil || errGot != nil || string(got) != page {
		t.Errorf("benchmarks.md does not have the figures of benchmarks.json (%v, %v)%s", err, errGot, again)
	}
	readme, err := os.ReadFile(docs + "/../README.md")
	if m := readmeRows.FindSubmatch(readme); err != nil || m == nil || string(m[0]) != string(m[1])+r.readme() {
		t.Errorf("README.md does not have the figures of benchmarks.json (%v)%s", err, again)
	}

	dir := t.TempDir()
	if err := errors.Join(os.Mkdir(dir+"/docs", 0o755), os.WriteFile(dir+"/README.md", append(readme, "end\n"...), 0o644), results{}.writeTables(dir+"/docs")); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(r.write(dir+"/docs"), r.writeTables(dir+"/docs")); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(dir + "/README.md"); err != nil || string(got) != string(readme)+"end\n" {
		t.Errorf("README.md, written twice: %v, %s", err, got)
	}
}
