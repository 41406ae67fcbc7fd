package kmod

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/arcinit/arcinit/internal/kernelfile"
	"golang.org/x/sys/unix"
)

// ErrNone is the error for a name or alias that no module has.
var ErrNone = errors.New("there is no such module")

// Open reads the index of the modules for the running kernel in the root directory root. sys is the mount point of
// sysfs. The Loader gives modules the parameters that are named by the module, and does not load those that are refused.
// The error is fs.ErrNotExist if there are no modules, as with a kernel that has everything built in.
func Open(root, sys string, parameters map[string]string, refused []string) (*Loader, error) {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return nil, fmt.Errorf("uname: %w", err)
	}
	l := &Loader{dir: filepath.Join(root, "/lib/modules", unix.ByteSliceToString(uts.Release[:])), sys: sys, files: map[string][]string{},
		before: map[string][]string{}, after: map[string][]string{}, parameters: parameters, refused: refused}
	err := l.readLines("modules.dep", l.addFiles)
	if err == nil {
		err = l.readLines("modules.alias", l.addAlias)
	}
	if err == nil {
		err = l.checkCompression()
	}
	if err != nil {
		return nil, fmt.Errorf("read the index of the kernel's modules: %w", err)
	}
	_ = l.readLines("modules.softdep", l.addSoft) // which depmod only writes where it has found some
	return l, nil
}

// checkCompression returns an error if the kernel cannot unpack the modules (CONFIG_MODULE_DECOMPRESS).
func (l *Loader) checkCompression() error {
	can, _ := kernelfile.Read(filepath.Join(l.sys, "module/compression"))
	for _, files := range l.files {
		if extension := filepath.Ext(files[0]); extension != ".ko" && extension != map[string]string{"gzip": ".gz", "xz": ".xz", "zstd": ".zst"}[can] {
			return fmt.Errorf("the kernel cannot unpack modules such as %s", filepath.Join(l.dir, files[0]))
		}
	}
	return nil
}

// Node is a device node whose opening makes the kernel ask for a module. Mode and Device are as for mknod(2).
type Node struct {
	Path   string // below /dev
	Mode   uint32
	Device int
}

// Nodes returns the nodes that the modules promise, by the lines "MODULE PATH cMAJOR:MINOR" of modules.devname.
func (l *Loader) Nodes() (nodes []Node) {
	_ = l.readLines("modules.devname", func(line string) {
		f := strings.Fields(line)
		if len(f) != 3 || strings.HasPrefix(line, "#") {
			return
		}
		mode := map[byte]uint32{'b': unix.S_IFBLK, 'c': unix.S_IFCHR}[f[2][0]]
		major, minor, _ := strings.Cut(f[2][1:], ":")
		a, errA := strconv.ParseUint(major, 10, 32)
		b, errB := strconv.ParseUint(minor, 10, 32)
		if mode != 0 && errA == nil && errB == nil {
			nodes = append(nodes, Node{f[1], mode | 0o600, int(unix.Mkdev(uint32(a), uint32(b)))})
		}
	})
	return nodes
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
// that these need. It reports whether it loaded any. The error is ErrNone if there is no such module, or it is refused.
func (l *Loader) Load(name string) (changed bool, err error) {
	return l.loadAll(name, map[string]bool{})
}

// loadAll is Load without the modules in begun, which are being loaded: soft dependencies may be circular.
func (l *Loader) loadAll(name string, begun map[string]bool) (changed bool, err error) {
	modules := l.resolve(name)
	if len(modules) == 0 {
		return false, fmt.Errorf("%s: %w", name, ErrNone)
	}
	for _, m := range modules {
		c, e := l.load(m, begun)
		if e != nil {
			e = fmt.Errorf("load module %s for %s: %w", m, name, e)
		}
		changed, err = changed || c, errors.Join(err, e)
	}
	return changed, err
}

// load loads the modules that a module needs, then the module.
func (l *Loader) load(module string, begun map[string]bool) (changed bool, err error) {
	files, ok := l.files[module]
	switch {
	case l.loaded(module), !ok && l.builtIn(module):
		return false, nil
	case !ok:
		return false, ErrNone
	}
	for _, file := range slices.Backward(files) {
		m := moduleName(file)
		if begun[m] || l.loaded(m) {
			continue
		}
		if begun[m] = true; slices.Contains(l.refused, m) {
			return changed, fmt.Errorf("%w: the kernel command line refuses %s", ErrNone, m)
		}
		l.loadSoft(l.before[m], begun)
		if err := insert(filepath.Join(l.dir, file), l.parameters[m]); err != nil {
			return changed, err
		}
		changed = true
		l.loadSoft(l.after[m], begun)
	}
	return changed, nil
}

// loadSoft loads modules that another one can do without.
func (l *Loader) loadSoft(aliases []string, begun map[string]bool) {
	for _, alias := range aliases {
		_, _ = l.loadAll(alias, begun)
	}
}

// loaded reports whether a module has been loaded, and is not only being loaded.
func (l *Loader) loaded(module string) bool {
	state, err := kernelfile.Read(filepath.Join(l.sys, "module", module, "initstate"))
	return err == nil && state == "live"
}

// builtIn reports whether the kernel has a module built in (modules.builtin lists the files that those modules would have).
func (l *Loader) builtIn(module string) (found bool) {
	err := l.readLines("modules.builtin", func(file string) { found = found || moduleName(file) == module })
	return err == nil && found
}

// insert loads a module's file with these parameters. If another thread is loading the module, the kernel waits for that and returns EEXIST.
func insert(file, parameters string) error {
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
		err = unix.FinitModule(int(f.Fd()), parameters, flags)
	}
	if err == nil || errors.Is(err, unix.EEXIST) {
		return nil
	}
	return fmt.Errorf("%s: %w", file, err)
}
