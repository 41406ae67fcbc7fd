// Package kmod loads kernel modules by name or by a device's alias, from the index that depmod(8) makes. It must not know what the modules are for.
//
// u-root's kmodule does the same, but decompresses modules itself: its packages are 0.75 MB and take 1.7
// ms to initialize in every process of this program. Here the kernel decompresses.
package kmod

import (
	"path"
	"strings"
)

// Loader loads modules. Its methods may be called concurrently.
type Loader struct {
	dir string // of the running kernel's modules
	sys string // the mount point of sysfs
	// files are the paths of a module and of the modules that it needs, by the
	// module's name, in the order of modules.dep: each before those it needs.
	files   map[string][]string
	aliases []alias
	// before and after are the aliases of the modules that a module needs loaded, if they are there.
	before, after map[string][]string
	// parameters of a module, as for finit_module(2), and the modules that are not to be loaded.
	parameters map[string]string
	refused    []string
}

type alias struct{ pattern, module string }

// moduleName returns the kernel's name of the module in a file.
func moduleName(file string) string {
	name, _, _ := strings.Cut(path.Base(file), ".ko")
	return canonical(name)
}

// canonical returns the kernel's spelling of a module's name.
func canonical(name string) string { return strings.ReplaceAll(name, "-", "_") }

// addFiles reads a line "FILE: FILE..." of modules.dep.
func (l *Loader) addFiles(line string) {
	if file, needs, ok := strings.Cut(line, ":"); ok {
		l.files[moduleName(file)] = append([]string{file}, strings.Fields(needs)...)
	}
}

// addAlias reads a line of modules.alias: "alias PATTERN MODULE", or a comment.
func (l *Loader) addAlias(line string) {
	if f := strings.Fields(line); len(f) == 3 && f[0] == "alias" {
		l.aliases = append(l.aliases, alias{pattern: f[1], module: canonical(f[2])})
	}
}

// addSoft reads a line of modules.softdep: "softdep MODULE pre: ALIAS... post: ALIAS...", or a comment.
func (l *Loader) addSoft(line string) {
	f := strings.Fields(line)
	if len(f) < 3 || f[0] != "softdep" {
		return
	}
	module, needs := canonical(f[1]), l.before
	for _, word := range f[2:] {
		switch word {
		case "pre:":
			needs = l.before
		case "post:":
			needs = l.after
		default:
			needs[module] = append(needs[module], word)
		}
	}
}

// resolve returns the modules that have name as an alias, or else the module of that name.
func (l *Loader) resolve(name string) []string {
	var modules []string
	for _, a := range l.aliases {
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
