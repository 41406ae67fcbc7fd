// Package kmod loads kernel modules by name or by a device's alias, from the index
// that depmod(8) makes. It must not know what the modules are for.
//
// u-root's kmodule does the same, but decompresses modules itself: its packages
// are 0.75 MB and take 1.7 ms to initialize in every process of this program.
// Here the kernel decompresses.
package kmod

import (
	"bufio"
	"io"
	"path"
	"strings"
)

// Loader loads modules. Its methods may be called concurrently.
type Loader struct {
	dir string // of the running kernel's modules
	sys string // the mount point of sysfs
	index
}

// index is depmod's index of a directory of modules.
type index struct {
	// files are the paths of a module and of the modules that it needs, by the
	// module's name, in the order of modules.dep: each before those it needs.
	files   map[string][]string
	aliases []alias
}

type alias struct{ pattern, module string }

// moduleName returns the kernel's name of the module in a file.
func moduleName(file string) string {
	name, _, _ := strings.Cut(path.Base(file), ".ko")
	return canonical(name)
}

// canonical returns the kernel's spelling of a module's name.
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

// maxLine is the longest line of an index, in bytes. A module needs some dozens of
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

// resolve returns the modules that have name as an alias, or else the module of
// that name.
func (x *index) resolve(name string) []string {
	var modules []string
	for _, a := range x.aliases {
		// Aliases have no slashes, so path.Match works like the kernel's matching.
		if ok, err := path.Match(a.pattern, name); ok && err == nil {
			modules = append(modules, a.module)
		}
	}
	if len(modules) > 0 {
		return modules
	}
	if strings.ContainsAny(name, ":/") {
		return nil // a device's alias, not a module's name
	}
	return []string{canonical(name)}
}
