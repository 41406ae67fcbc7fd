package arcsetup

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/arcinit/arcinit/internal/kmod"
	"github.com/arcinit/arcinit/pkg/arcsetup/plan"
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
	loader, err := openModules(g.Root)
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
	changed, err = g.loader.Load(alias)
	if errors.Is(err, kmod.ErrNone) {
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
		c, e := g.loader.Load(module)
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
	loader, err := openModules("/")
	if err != nil {
		return err
	}
	_, err = loader.Load(name)
	return err
}

// openModules finds the modules of the running kernel in the guest's root, or
// where those of the initramfs are when it is the root no more.
func openModules(root string) (*kmod.Loader, error) {
	sys := filepath.Join(root, "/sys")
	loader, err := kmod.Open(root, sys)
	if errors.Is(err, fs.ErrNotExist) {
		loader, err = kmod.Open(filepath.Join(root, keptInitramfs), sys)
	}
	return loader, err
}
