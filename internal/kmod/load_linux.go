package kmod

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrNone is that an image has no module of that name or alias.
var ErrNone = errors.New("no module for it")

// Open reads the index of the modules that the image in the directory root has for
// the running kernel; sys is where sysfs is mounted. The error is fs.ErrNotExist
// where there are none, as with a kernel that has everything built in.
func Open(root, sys string) (*Loader, error) {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return nil, fmt.Errorf("uname: %w", err)
	}
	l := &Loader{dir: filepath.Join(root, "/lib/modules", unix.ByteSliceToString(uts.Release[:])), sys: sys}
	for file, read := range map[string]func(io.Reader) error{"modules.dep": l.readFiles, "modules.alias": l.readAliases} {
		if err := l.readFile(file, read); err != nil {
			return nil, fmt.Errorf("modules for this kernel: %w", err)
		}
	}
	return l, nil
}

func (l *Loader) readFile(name string, read func(io.Reader) error) error {
	f, err := os.Open(filepath.Join(l.dir, name))
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // only read from
	if err := read(f); err != nil {
		return fmt.Errorf("%s: %w", f.Name(), err)
	}
	return nil
}

// Load loads every module that name stands for, those with such an alias or else
// the one of that name, and what they need. It reports whether any was not there
// yet. The error is ErrNone where the image has none.
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

// load loads one module, after those that it needs.
func (l *Loader) load(module string) (changed bool, err error) {
	if l.loaded(module) {
		return false, nil
	}
	files, ok := l.files[module]
	if !ok {
		if l.builtIn(module) {
			return false, nil
		}
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

// loaded reports whether the kernel has the module, loaded or built in with
// parameters. One that another thread is about to load need not be ready.
func (l *Loader) loaded(module string) bool {
	dir := filepath.Join(l.sys, "module", module)
	if state, err := os.ReadFile(filepath.Join(dir, "initstate")); err == nil {
		return strings.TrimSpace(string(state)) == "live"
	}
	if _, loadable := l.files[module]; loadable {
		return false // the directory of one that is being loaded is there before its state
	}
	_, err := os.Stat(dir)
	return err == nil
}

// builtIn reports whether modules.builtin, a list of files, has the module.
func (l *Loader) builtIn(module string) bool {
	found := false
	err := l.readFile("modules.builtin", func(r io.Reader) error {
		s := bufio.NewScanner(r)
		for !found && s.Scan() {
			found = moduleName(s.Text()) == module
		}
		return s.Err()
	})
	return err == nil && found
}

// Flags of finit_module(2), from linux/module.h.
const initCompressedFile = 4

// insert gives the kernel a module's file. One that another thread is loading is
// waited for by the kernel, which then says that it is there. A compressed file
// is unpacked by the kernel, if that has CONFIG_MODULE_DECOMPRESS.
func insert(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // only read from
	flags := 0
	if filepath.Ext(file) != ".ko" {
		flags = initCompressedFile
	}
	for {
		// Whoever waits for another thread's load is woken by any signal.
		err = unix.FinitModule(int(f.Fd()), "", flags)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	switch {
	case errors.Is(err, unix.EEXIST):
		return nil
	case errors.Is(err, unix.EOPNOTSUPP) && flags != 0:
		return fmt.Errorf("%s is compressed, and the kernel has no CONFIG_MODULE_DECOMPRESS: %w", file, err)
	case err != nil:
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}
