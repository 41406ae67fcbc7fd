package kmod

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/arcinit/arcinit/internal/kernelfile"
	"golang.org/x/sys/unix"
)

// ErrNone is the error for a name or alias that no module has.
var ErrNone = errors.New("there is no such module")

// Open reads the index of the modules for the running kernel in the root directory root. sys is the mount point of
// sysfs. The error is fs.ErrNotExist if there are no modules, as with a kernel that has everything built in.
func Open(root, sys string) (*Loader, error) {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return nil, fmt.Errorf("uname: %w", err)
	}
	l := &Loader{dir: filepath.Join(root, "/lib/modules", unix.ByteSliceToString(uts.Release[:])), sys: sys, files: map[string][]string{}}
	err := l.readLines("modules.dep", l.addFiles)
	if err == nil {
		err = l.readLines("modules.alias", l.addAlias)
	}
	if err != nil {
		return nil, fmt.Errorf("read the index of the kernel's modules: %w", err)
	}
	return l, nil
}

// readLines calls each with every line of a file of depmod's index.
func (l *Loader) readLines(name string, each func(line string)) error {
	text, err := os.ReadFile(filepath.Join(l.dir, name))
	for line := range strings.Lines(string(text)) {
		each(strings.TrimSuffix(line, "\n"))
	}
	return err
}

// Load loads every module that has name as an alias, or else the module of that name, and the modules
// that these need. It reports whether it loaded any. The error is ErrNone if there is no such module.
func (l *Loader) Load(name string) (changed bool, err error) {
	modules := l.resolve(name)
	if len(modules) == 0 {
		return false, fmt.Errorf("%s: %w", name, ErrNone)
	}
	for _, m := range modules {
		c, e := l.load(m)
		if e != nil {
			e = fmt.Errorf("load module %s for %s: %w", m, name, e)
		}
		changed, err = changed || c, errors.Join(err, e)
	}
	return changed, err
}

// load loads the modules that a module needs, then the module.
func (l *Loader) load(module string) (changed bool, err error) {
	files, ok := l.files[module]
	switch {
	case l.loaded(module), !ok && l.builtIn(module):
		return false, nil
	case !ok:
		return false, ErrNone
	}
	for _, file := range slices.Backward(files) {
		if l.loaded(moduleName(file)) {
			continue
		}
		if err := insert(filepath.Join(l.dir, file)); err != nil {
			return changed, err
		}
		changed = true
	}
	return changed, nil
}

// loaded reports whether a module has been loaded, and is not only being loaded.
func (l *Loader) loaded(module string) bool {
	state, err := kernelfile.Read(filepath.Join(l.sys, "module", module, "initstate"))
	return err == nil && state == "live"
}

// builtIn reports whether the kernel has a module built in (modules.builtin lists
// the files that those modules would have).
func (l *Loader) builtIn(module string) (found bool) {
	err := l.readLines("modules.builtin", func(file string) { found = found || moduleName(file) == module })
	return err == nil && found
}

// insert loads a module's file. If another thread is loading the module, the kernel waits for that and returns EEXIST.
func insert(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // only read from
	flags := 0
	if filepath.Ext(file) != ".ko" {
		flags = unix.MODULE_INIT_COMPRESSED_FILE
	}
	err = unix.EINTR
	for errors.Is(err, unix.EINTR) { // any signal interrupts the wait for another thread
		err = unix.FinitModule(int(f.Fd()), "", flags)
	}
	switch {
	case err == nil || errors.Is(err, unix.EEXIST):
		return nil
	case errors.Is(err, unix.EOPNOTSUPP) && flags != 0:
		return fmt.Errorf("%s is compressed, and the kernel has no CONFIG_MODULE_DECOMPRESS: %w", file, err)
	}
	return fmt.Errorf("%s: %w", file, err)
}
