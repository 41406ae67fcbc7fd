package main

import (
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/template"

	"github.com/arcinit/arcinit/vmtests/guest"
)

// page is the template of docs/benchmarks.md.
//
//go:embed page.tmpl
var page string

// writeTables writes benchmarks.md.
func (f figures) writeTables(docs string) error {
	t, err := template.New("page").Funcs(template.FuncMap{"row": f.row, "bytes": f.bytes, "syscalls": f.syscalls}).Parse(page)
	if err != nil {
		return fmt.Errorf("parse the page's template: %w", err)
	}
	var text strings.Builder
	err = t.Execute(&text, map[string]any{
		"Figures": f, "Targets": f.targets(), "Times": times, "Memory": memory,
		"Instructions": clocks[guest.Counted], "Wall": clocks[guest.TCG],
	})
	if err != nil {
		return fmt.Errorf("write the page: %w", err)
	}
	if err := os.WriteFile(filepath.Join(docs, "benchmarks.md"), []byte(text.String()), 0o644); err != nil {
		return fmt.Errorf("write the page: %w", err)
	}
	return nil
}

// row formats a table row with a figure's median, least and most for each flow.
func (f figures) row(fig figure, clock string) string {
	cells := []string{fig.title + ", " + fig.unit}
	for _, fl := range []flow{reference, initramfs, disk} {
		s, ok := f.Boot[fl][clock][fig.name]
		cell := "the agent itself"
		if ok {
			cell = fmt.Sprintf("%.1f (%.1f to %.1f)", s.Median, s.Least, s.Most)
		}
		cells = append(cells, cell)
	}
	return "| " + strings.Join(cells, " | ") + " |"
}

// syscalls formats a table row with the number of PID 1's system calls in each flow.
func (f figures) syscalls() string {
	return fmt.Sprintf("| system calls of PID 1 until the agent starts | %d | %d | %d |",
		f.Syscalls[reference], f.Syscalls[initramfs], f.Syscalls[disk])
}

// bytes formats the size of an image.
func (f figures) bytes(name string) string {
	return fmt.Sprintf("%.2f MB", float64(f.ImageBytes[name])/1e6)
}

// String formats the target as one line, with whether it is met.
func (t target) String() string {
	met := "met"
	if !t.met() {
		met = "NOT met"
	}
	return fmt.Sprintf("%s: %s, the least %s, the median %s %s", t.what, met, t.least, t.median, t.unit)
}

func (l limited) String() string { return fmt.Sprintf("%.1f of %.1f", l.is, l.limit) }

// Row formats the target as a row of the table of targets.
func (t target) Row() string {
	met := "yes"
	if !t.met() {
		met = "**no**"
	}
	return fmt.Sprintf("| %s | %s %s | %s %s | %s |", t.what, t.least, t.unit, t.median, t.unit, met)
}
