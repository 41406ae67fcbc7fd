package arcsetup

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/arcinit/arcinit/pkg/arcsetup/plan"
	"github.com/u-root/u-root/pkg/kmodule"
	"golang.org/x/sys/unix"
)

// modprobePath is where the kernel is sent for modules, in an image that has
// none of its own programs for that.
const modprobePath = "/run/arcbox/modprobe"

// keptInitramfs is where the initramfs's modules are when it is the root no more.
const keptInitramfs = "/run/arcbox/initramfs"

// modules loads the drivers of the devices that are there and that the boot waits
// for. What is wanted later (a file system, a match of a firewall rule) the kernel
// asks for itself.
func (g *Guest) modules() (changed bool, err error) {
	loader, err := newModuleLoader(g.Root)
	if err != nil {
		return false, plan.Absent(err)
	}
	g.loader = loader
	answered, errAnswer := g.answerModprobe()
	changed, err = g.loadBootDrivers()
	return answered || changed, errors.Join(errAnswer, err)
}

// loadBootDrivers loads the drivers of virtio devices, which appear once the
// driver of their PCI or platform device is there. The boot waits for these
// alone; others are hotplug's.
func (g *Guest) loadBootDrivers() (changed bool, err error) {
	if g.loader == nil {
		return false, nil
	}
	for _, bus := range []string{"pci", "platform", "virtio"} {
		c, e := g.loadDrivers("/sys/bus/" + bus + "/devices/*/modalias")
		changed, err = changed || c, errors.Join(err, e)
	}
	return changed, err
}

// loadDrivers loads the drivers of the devices whose alias is in one of the files
// that match pattern.
func (g *Guest) loadDrivers(pattern string) (changed bool, err error) {
	files, _ := filepath.Glob(g.path(pattern))
	for _, file := range files {
		alias, e := os.ReadFile(file)
		if errors.Is(e, os.ErrNotExist) || errors.Is(e, unix.ENODEV) {
			continue // the device is gone again
		}
		if e != nil {
			err = errors.Join(err, e)
			continue
		}
		c, e := g.loadDriver(strings.TrimSpace(string(alias)))
		changed, err = changed || c, errors.Join(err, e)
	}
	return changed, err
}

// loadDriver loads the driver of a device by its alias. It is no error that there
// is none, which may be built in.
func (g *Guest) loadDriver(alias string) (changed bool, err error) {
	changed, err = g.loader.load(alias)
	if errors.Is(err, errNoModule) {
		return changed, nil
	}
	return changed, err
}

// netfilter loads what the firewall's rules need. The kernel would ask for it, a
// process for each module, while the agent waits. That something is not there is
// for the steps that need it to say.
func (g *Guest) netfilter() (changed bool, err error) {
	if g.loader == nil {
		return false, plan.Absent(errors.New("no modules for this kernel"))
	}
	for _, module := range []string{"nf_tables", "nft_compat", "xt_conntrack"} {
		c, e := g.loader.load(module)
		if e != nil {
			err = errors.Join(err, plan.Absent(e))
		}
		changed = changed || c
	}
	return changed, err
}

// answerModprobe makes this program the one that the kernel runs when it lacks a
// module (Documentation/admin-guide/sysctl/kernel.rst, modprobe). A script says
// so, since the kernel passes no arguments of ours.
func (g *Guest) answerModprobe() (changed bool, err error) {
	own, err := g.readFile("/proc/sys/kernel/modprobe")
	if err != nil {
		return false, err
	}
	if _, err := os.Stat(g.path(strings.TrimSpace(own))); err == nil {
		return false, nil // the image's own program, or this script already
	}
	changed, err = g.replaceFile(modprobePath, "#!"+ProgramPath+" modprobe\n", 0o755)
	set, errSet := g.setSysctl("kernel/modprobe", modprobePath)
	return changed || set, errors.Join(err, errSet)
}

// Modprobe loads the modules that the image has for an alias or a module's name,
// as the kernel asks for them.
func Modprobe(name string) error {
	loader, err := newModuleLoader("/")
	if err != nil {
		return err
	}
	_, err = loader.load(name)
	return err
}

var errNoModule = errors.New("no module for it")

// moduleLoader knows the modules of an image: u-root's prober their files and
// dependencies, aliases what it does not, other names.
type moduleLoader struct {
	prober  *kmodule.Prober
	aliases []moduleAlias
	root    string
}

type moduleAlias struct{ pattern, module string }

// newModuleLoader reads the modules of the running kernel; it fails where there
// are none, as with a kernel that has everything built in.
func newModuleLoader(root string) (*moduleLoader, error) {
	image := root
	aliases, err := openAliases(image)
	if errors.Is(err, fs.ErrNotExist) {
		image = filepath.Join(root, keptInitramfs)
		aliases, err = openAliases(image)
	}
	if err != nil {
		return nil, fmt.Errorf("no modules for this kernel: %w", err)
	}
	defer aliases.Close() //nolint:errcheck // only read from
	prober, err := kmodule.NewProber(kmodule.ProbeOpts{RootDir: image})
	if err != nil {
		return nil, fmt.Errorf("modules of %s: %w", image, err)
	}
	l := &moduleLoader{prober: prober, root: root}
	for s := bufio.NewScanner(aliases); s.Scan(); {
		// modules.alias has lines "alias PATTERN MODULE" and comments (depmod(8)).
		if f := strings.Fields(s.Text()); len(f) == 3 && f[0] == "alias" {
			l.aliases = append(l.aliases, moduleAlias{pattern: f[1], module: f[2]})
		}
	}
	return l, nil
}

// openAliases opens the list of aliases for the running kernel in the image of
// this directory.
func openAliases(image string) (*os.File, error) {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return nil, fmt.Errorf("uname: %w", err)
	}
	return os.Open(filepath.Join(image, "/lib/modules", unix.ByteSliceToString(uts.Release[:]), "modules.alias"))
}

// load loads every module that name stands for: those with such an alias, else
// the one of that name.
func (l *moduleLoader) load(name string) (changed bool, err error) {
	modules := l.resolve(name)
	if len(modules) == 0 {
		return false, fmt.Errorf("%s: %w", name, errNoModule)
	}
	for _, m := range modules {
		if l.loaded(m) {
			continue
		}
		if e := l.prober.Probe(m, ""); e != nil {
			err = errors.Join(err, fmt.Errorf("load module %s for %s: %w", m, name, e))
			continue
		}
		changed = true
	}
	return changed, err
}

func (l *moduleLoader) resolve(name string) []string {
	var modules []string
	for _, a := range l.aliases {
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
	return []string{name}
}

// loaded reports whether the kernel has the module, built in or loaded.
func (l *moduleLoader) loaded(module string) bool {
	_, err := os.Stat(filepath.Join(l.root, "/sys/module", strings.ReplaceAll(module, "-", "_")))
	return err == nil
}
