// Command bench measures the cost of a boot: arcinit's, and for comparison the reference's, which sets up the guest with a
// native program, busybox and iptables (directory reference). docs/benchmarks.md explains what is measured, and how.
//
//	bench measure   boots both in turn, and writes docs/benchmarks.json and docs/benchmarks.md
//	bench tables    writes docs/benchmarks.md again from docs/benchmarks.json
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
	"syscall"
)

func main() {
	build := flag.String("build", filepath.Join("build", "amd64"), "the `directory` with kernel, images and reference")
	docs := flag.String("docs", "docs", "the `directory` with benchmarks.json and benchmarks.md")
	boots := flag.Int("boots", 5, "measure: how `many` boots of each kind")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, flag.Arg(0), *build, *docs, *boots); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, what, build, docs string, boots int) error {
	bench, err := newBench(build)
	if err != nil {
		return err
	}
	defer bench.close()
	switch what {
	case "measure":
		return measure(ctx, bench, docs, boots)
	case "tables":
		f, err := readFigures(docs)
		if err != nil {
			return err
		}
		return f.writeTables(docs)
	case "check":
		return check(ctx, bench, docs)
	case "scale":
		return scale(ctx, bench, docs)
	}
	return fmt.Errorf("unknown command %q: want measure, tables, check or scale", what)
}
