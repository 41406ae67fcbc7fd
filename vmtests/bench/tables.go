package main

import (
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"text/template"
)

// pageTemplate is the template of docs/benchmarks.md.
//
//go:embed page.tmpl
var pageTemplate string

// readmeRows matches README's table of figures: its head, then its rows.
var readmeRows = regexp.MustCompile(`(\| arm64 \| reference \| arcinit \| ratio \|\n\|[-|]+\n)(?:\|.*\n)*`)

// writeTables writes benchmarks.md, and the figures in README.md, which is beside docs.
func (r results) writeTables(docs string) error {
	text, err := r.page()
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(docs, "benchmarks.md"), []byte(text), 0o644); err != nil {
		return fmt.Errorf("write the page: %w", err)
	}
	readme := filepath.Join(docs, "..", "README.md")
	whole, err := os.ReadFile(readme)
	if err != nil {
		return fmt.Errorf("write README's figures: %w", err)
	}
	if err := os.WriteFile(readme, readmeRows.ReplaceAll(whole, []byte("${1}"+r.readme())), 0o644); err != nil {
		return fmt.Errorf("write README's figures: %w", err)
	}
	return nil
}

// page formats benchmarks.md.
func (r results) page() (string, error) {
	t, err := template.New("page").Funcs(template.FuncMap{"table": r.table, "targets": figures.targets}).Parse(pageTemplate)
	if err != nil {
		return "", fmt.Errorf("parse the page's template: %w", err)
	}
	var text strings.Builder
	if err := t.Execute(&text, map[string]any{"Results": r, "Flows": flows, "Times": times, "Memory": memory}); err != nil {
		return "", fmt.Errorf("write the page: %w", err)
	}
	return text.String(), nil
}

// readme formats the rows of README's table.
func (r results) readme() string {
	var rows strings.Builder
	for _, t := range r["arm64"].targets("arm64") {
		if t.inReadme {
			fmt.Fprintf(&rows, "| %s |\n", strings.Join(t.cells(), " | "))
		}
	}
	return rows.String()
}

// cells formats the figure, and its ratio to the reference's.
func (t target) cells() []string {
	number := func(n float64) string {
		switch t.unit {
		case "": // a count
			return fmt.Sprintf("%.0f", n)
		case "MB":
			return fmt.Sprintf("%.2f MB", n)
		}
		return fmt.Sprintf("%.1f %s", n, t.unit)
	}
	ofReference := "none"
	if t.reference > 0 {
		ofReference = number(t.reference)
	}
	return []string{t.title, ofReference, number(t.arcinit), fmt.Sprintf(t.format, t.is)}
}

// Row formats the target as a row of the table of targets.
func (t target) Row() string {
	met := "yes"
	if !t.met() {
		met = "**no**"
	}
	return "| " + strings.Join(append(t.cells(), fmt.Sprintf(t.format, t.limit), met), " | ") + " |"
}

// table formats figures of this setting as a table with the median, the least and the most of each flow.
func (r results) table(arch, setting string, of []figure) string {
	var table strings.Builder
	fmt.Fprintf(&table, "| %s", arch)
	for _, fl := range flows {
		fmt.Fprintf(&table, " | %s", fl)
	}
	fmt.Fprintf(&table, " |\n|---%s|\n", strings.Repeat("|---", len(flows)))
	for _, fig := range of {
		fmt.Fprintf(&table, "| %s, %s", fig.title, fig.unit)
		for _, fl := range flows {
			cell := "the agent itself"
			if s, ok := r[arch].Boot[setting][fl][fig.name]; ok {
				cell = fmt.Sprintf("%.1f (%.1f to %.1f)", s.Median, s.Least, s.Most)
			}
			fmt.Fprintf(&table, " | %s", cell)
		}
		table.WriteString(" |\n")
	}
	return table.String()
}
