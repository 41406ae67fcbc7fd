// Command bench measures the cost of a boot: arcinit's, and for comparison the reference's, which sets up the guest with a
// native program, busybox and iptables (directory reference). docs/benchmarks.md explains what is measured, and how.
//
//	bench measure   boots both in turn, and writes docs/benchmarks.json, and the other pages like tables
//	bench tables    writes docs/benchmarks.md and README's figures again from docs/benchmarks.json
//	bench check     boots arcinit, and fails if it costs over 10% more than docs/benchmarks.json records
//	bench scale     boots many guests at once, and guests with many devices; fails if the cost grows more than in proportion
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
)

func main() {
	arch := flag.String("arch", runtime.GOARCH, "the guests' `architecture`; build/ARCHITECTURE has kernel, images and reference")
	docs := flag.String("docs", "docs", "the `directory` with benchmarks.json and benchmarks.md")
	boots := flag.Int("boots", 7, "measure: how `many` boots of each kind")
	kvm := flag.Bool("kvm", false, "measure: boot by KVM, too, where the guests have this machine's architecture")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, flag.Arg(0), *arch, *docs, *boots, *kvm); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, what, arch, docs string, boots int, kvm bool) error {
	bench, err := newBench(arch, filepath.Join("build", arch))
	if err != nil {
		return err
	}
	defer bench.close()
	switch what {
	case "measure":
		return measure(ctx, bench, docs, boots, kvm)
	case "tables":
		r, err := readResults(docs)
		if err != nil {
			return err
		}
		return r.writeTables(docs)
	case "check":
		return check(ctx, bench, docs)
	case "scale":
		return scale(ctx, bench, docs)
	}
	return fmt.Errorf("unknown command %q: want measure, tables, check or scale", what)
}
