// Command bench measures what a boot costs: arcinit's, and beside it that of the reference, whose set-up is a native program
// with busybox and iptables as helpers (directory reference). docs/benchmarks.md says what is measured, and how.
//
//	bench measure   boots both in turn, and writes docs/benchmarks.json and docs/benchmarks.md
//	bench tables    writes docs/benchmarks.md anew from docs/benchmarks.json
//	bench check     boots arcinit, and fails if it costs a tenth more than docs/benchmarks.json says
//	bench scale     boots many guests, and guests with much, and fails where that costs more than in proportion
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
	return fmt.Errorf("%q: only measure, tables, check and scale are known", what)
}
