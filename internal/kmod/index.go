package kmod

import (
	"bufio"
	"io"
	"path"
	"strings"
)

// Loader loads the modules of an image. Its methods may be called at the same
// time.
type Loader struct {
	dir string // of the running kernel's modules
	sys string // where sysfs is
	index
}

// index is what depmod(8) writes down of an image's modules.
type index struct {
	// files are the paths of a module and of those that it needs, by the
	// module's name: the module first, then as in modules.dep, where what a
	// module needs comes after it.
	files   map[string][]string
	aliases []alias
}

type alias struct{ pattern, module string }

// moduleName is the name of the module in a file, as the kernel spells it.
func moduleName(file string) string {
	name, _, _ := strings.Cut(path.Base(file), ".ko")
	return canonical(name)
}

// canonical spells a module's name as the kernel does.
func canonical(name string) string { return strings.ReplaceAll(name, "-", "_") }

// readFiles reads modules.dep: lines "FILE: FILE...".
func (x *index) readFiles(r io.Reader) error {
	x.files = map[string][]string{}
	s := bufio.NewScanner(r)
	s.Buffer(nil, maxLine)
	for s.Scan() {
		if file, needs, ok := strings.Cut(s.Text(), ":"); ok {
			x.files[moduleName(file)] = append([]string{file}, strings.Fields(needs)...)
		}
	}
	return s.Err()
}

// maxLine bounds a line of an index, in bytes. A module needs some dozens of
// others at most.
const maxLine = 1 << 20

// readAliases reads modules.alias: lines "alias PATTERN MODULE", and comments.
func (x *index) readAliases(r io.Reader) error {
	s := bufio.NewScanner(r)
	for s.Scan() {
		if f := strings.Fields(s.Text()); len(f) == 3 && f[0] == "alias" {
			x.aliases = append(x.aliases, alias{pattern: f[1], module: canonical(f[2])})
		}
	}
	return s.Err()
}

// resolve returns the modules that have name as an alias, else the one of that
// name.
func (x *index) resolve(name string) []string {
	var modules []string
	for _, a := range x.aliases {
		// Aliases hold no slashes, so path.Match is the kernel's fnmatch.
		if ok, err := path.Match(a.pattern, name); ok && err == nil {
			modules = append(modules, a.module)
		}
	}
	if len(modules) > 0 {
		return modules
	}
	if strings.ContainsAny(name, ":/") {
		return nil // an alias, not a name
	}
	return []string{canonical(name)}
}
