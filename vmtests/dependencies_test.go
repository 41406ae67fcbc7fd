package vmtests

import (
	"bytes"
	"cmp"
	"debug/elf"
	"debug/gosym"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/u-root/mkuimage/cpio"
)

const dependencies = "../docs/dependencies.md"

// linkedModule is a module that uinit links on Linux.
type linkedModule struct{ path, version, dir string }

// linkedModules lists the modules that uinit links on any of the tested architectures, and the module of each linked package.
// Packages of Go's standard library have none.
func linkedModules(t *testing.T) (modules []linkedModule, byPackage map[string]string) {
	t.Helper()
	byPackage = map[string]string{}
	found := map[string]linkedModule{}
	for _, arch := range []string{"amd64", "arm64"} {
		list := exec.Command("go", "list", "-deps", "-f", "{{.ImportPath}} {{with .Module}}{{.Path}} {{.Version}} {{.Dir}}{{end}}", "../cmd/uinit")
		list.Env = append(os.Environ(), "GOOS=linux", "GOARCH="+arch, "CGO_ENABLED=0")
		out, err := list.Output()
		if err != nil {
			t.Fatalf("list what uinit links: %v", err)
		}
		for line := range strings.Lines(string(out)) {
			fields := strings.Fields(line)
			if len(fields) > 1 {
				byPackage[fields[0]] = fields[1]
			}
			if len(fields) == 4 { // this module has no version
				found[fields[1]] = linkedModule{fields[1], fields[2], fields[3]}
			}
		}
	}
	return slices.SortedFunc(maps.Values(found), func(a, b linkedModule) int { return cmp.Compare(a.path, b.path) }), byPackage
}

// licences returns the SPDX names of the licences in a module's directory.
func licences(dir string) (string, error) {
	texts := map[string]string{
		"Apache-2.0":   "Apache License Version 2.0",
		"BSD-3-Clause": "Neither the name of",
		"MIT":          "Permission is hereby granted, free of charge, to any person",
		"MPL-2.0":      "Mozilla Public License Version 2.0",
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	found := map[string]bool{}
	for _, e := range entries {
		if !regexp.MustCompile(`(?i)^(licen[sc]e|copying)`).MatchString(e.Name()) {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return "", err
		}
		// Licences are wrapped at different columns, and one has commas in its title.
		plain := strings.ReplaceAll(strings.Join(strings.Fields(string(text)), " "), "License, Version", "License Version")
		for name, part := range texts {
			if strings.Contains(plain, part) {
				found[name] = true
			}
		}
	}
	if len(found) == 0 {
		return "", fmt.Errorf("no licence that this test knows in %s", dir)
	}
	return strings.Join(slices.Sorted(maps.Keys(found)), ", "), nil
}

// table returns the lines of the page's table under a heading, without its own heading, by their first cell.
func table(t *testing.T, page, heading string) (rows map[string][]string, text string) {
	t.Helper()
	found := regexp.MustCompile(`(?m)^## ` + regexp.QuoteMeta(heading) + `\n(?:[^|#\n].*\n|\n)*((?:\|.*\n)+)`).FindStringSubmatch(page)
	if found == nil {
		t.Fatalf("docs/dependencies.md has no table under %q", heading)
	}
	rows = map[string][]string{}
	for i, line := range strings.Split(strings.TrimSpace(found[1]), "\n") {
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i, cell := range cells {
			cells[i] = strings.TrimSpace(cell)
		}
		if i > 1 {
			rows[cells[0]] = cells
		}
	}
	return rows, found[1]
}

// TestDependencies compares the modules that uinit links, their versions and licences, with docs/dependencies.md, and checks that the
// page has all other modules that go.mod requires directly. With UPDATE set in the environment, it writes the table, with the bytes
// in the image of ARCH. Without, bytes may differ. People write the last column.
func TestDependencies(t *testing.T) {
	text, err := os.ReadFile(dependencies)
	if err != nil {
		t.Fatal(err)
	}
	page := string(text)
	const heading = "What uinit links"
	rows, old := table(t, page, heading)
	modules, byPackage := linkedModules(t)
	update := os.Getenv("UPDATE") != ""
	var kilobytes map[string]int
	columns := strings.SplitN(old, "\n", 2)[0]
	if update {
		kilobytes = sizes(t, uinitOf(t, filepath.Join(os.Getenv("ARCINIT_BUILD"), "initramfs.cpio")), byPackage)
		columns = regexp.MustCompile(`KB on \w+`).ReplaceAllLiteralString(columns, "KB on "+os.Getenv("ARCH"))
	}
	line := func(name, version, licence string) string {
		size, why := "", ""
		if row := rows[name]; len(row) == 5 {
			size, why = row[3], row[4]
		}
		if why == "" {
			t.Errorf("docs/dependencies.md does not say why uinit links %s: write it in the last column", name)
		}
		if update {
			size = fmt.Sprint(kilobytes[name])
		}
		return fmt.Sprintf("| %s | %s | %s | %s | %s |\n", name, version, licence, size, why)
	}
	table := columns + "\n|---|---|---|---|---|\n"
	for _, m := range modules {
		licence, err := licences(m.dir)
		if err != nil {
			t.Error(err)
		}
		table += line(m.path, m.version, licence)
	}
	for _, part := range []string{"Go's library and runtime", "arcinit's own", "data and types", "the whole program"} {
		table += line(part, "", "")
	}
	if update {
		if err := os.WriteFile(dependencies, []byte(strings.Replace(page, old, table, 1)), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if table != old {
		t.Errorf("docs/dependencies.md has\n%s\nbut go.mod and the build have (make dependencies writes it):\n%s", old, table)
	}

	testUnlinked(t, page, modules)
}

// testUnlinked checks that the page lists the modules that go.mod requires directly and uinit does not link.
func testUnlinked(t *testing.T, page string, modules []linkedModule) {
	t.Helper()
	rows, _ := table(t, page, "What only the build, the tests and make run use")
	var want []string
	for _, m := range goMod(t).Require {
		if !m.Indirect && !slices.ContainsFunc(modules, func(l linkedModule) bool { return l.path == m.Path }) {
			want = append(want, m.Path)
		}
	}
	var got []string
	for name := range rows {
		if strings.Contains(name, "/") && !strings.Contains(name, "@") {
			got = append(got, name)
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("docs/dependencies.md lists %q as not linked, go.mod has %q", got, want)
	}
}

// moduleFile is what go mod edit -json prints.
type moduleFile struct {
	Module  struct{ Path string }
	Require []struct {
		Path     string
		Indirect bool
	}
	Exclude, Replace []any
}

func goMod(t *testing.T) (file moduleFile) {
	t.Helper()
	edit := exec.Command("go", "mod", "edit", "-json")
	edit.Dir = ".."
	out, err := edit.Output()
	if err != nil {
		t.Fatalf("read go.mod: %v", err)
	}
	if err := json.Unmarshal(out, &file); err != nil {
		t.Fatalf("read go.mod: %v", err)
	}
	return file
}

// TestInstallable checks what go install cmd/arcinit@version asks of a go.mod file.
func TestInstallable(t *testing.T) {
	if file := goMod(t); len(file.Exclude)+len(file.Replace) > 0 {
		t.Errorf("go.mod excludes %v and replaces %v; go install refuses that", file.Exclude, file.Replace)
	}
}

// uinitOf returns the program in an image.
func uinitOf(t *testing.T, path string) []byte {
	t.Helper()
	image, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var program []byte
	err = cpio.ForEachRecord(cpio.Newc.Reader(bytes.NewReader(image)), func(r cpio.Record) (err error) {
		if r.Name == "bin/uinit" {
			program, err = io.ReadAll(io.NewSectionReader(r, 0, int64(r.FileSize)))
		}
		return err
	})
	if err == nil && program == nil {
		err = errors.New("no bin/uinit")
	}
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return program
}

// packageOf returns the import path of the package that a function is from, as the linker names functions.
func packageOf(function string) string {
	// What the compiler makes for a type belongs to the type's package: type:.eq.net/netip.Addr
	function = strings.TrimPrefix(function, "type:")
	for _, kind := range []string{".eq.", ".hash."} {
		function = strings.TrimPrefix(function, kind)
	}
	if i := strings.IndexAny(function, "[(*{ "); i >= 0 {
		function = function[:i]
	}
	slash := strings.LastIndexByte(function, '/')
	name, _, _ := strings.Cut(function[slash+1:], ".")
	// The linker escapes dots in the last element.
	return function[:slash+1] + strings.ReplaceAll(name, "%2e", ".")
}

// sizes returns how many kilobytes of a program are each module's, and the program's other parts. A function counts with its code and
// its share of the tables that Go keeps about all functions. What the compiler has inlined counts for the caller.
func sizes(t *testing.T, program []byte, byPackage map[string]string) map[string]int {
	t.Helper()
	file, err := elf.NewFile(bytes.NewReader(program))
	if err != nil {
		t.Fatal(err)
	}
	section := file.Section(".gopclntab")
	tables, err := section.Data()
	if err != nil {
		t.Fatal(err)
	}
	text := file.Section(".text")
	functions, err := gosym.NewTable(nil, gosym.NewLineTable(tables, text.Addr))
	if err != nil {
		t.Fatal(err)
	}
	own := goMod(t).Module.Path
	parts, coded := map[string]int{}, 0
	for _, f := range functions.Funcs {
		size := int(f.End-f.Entry) + len(tables)/len(functions.Funcs)
		module := byPackage[packageOf(f.Name)]
		switch {
		case module == own, strings.HasPrefix(f.Name, "main."):
			module = "arcinit's own"
		case module == "":
			module = "Go's library and runtime"
		}
		parts[module] += size
		coded += size
	}
	parts["data and types"] = len(program) - coded
	parts["the whole program"] = len(program)
	for name, size := range parts {
		parts[name] = (size + 500) / 1000
	}
	return parts
}
