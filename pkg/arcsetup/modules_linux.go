package arcsetup

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"

	"github.com/arcinit/arcinit/internal/kernelfile"
	"github.com/arcinit/arcinit/internal/kmod"
	"github.com/arcinit/arcinit/internal/uevent"
	"github.com/arcinit/arcinit/pkg/arcsetup/config"
	"github.com/arcinit/arcinit/pkg/arcsetup/plan"
	"golang.org/x/sys/unix"
)

// modprobePath is what the kernel runs for modules, in an image without modprobe.
const modprobePath = "/run/arcbox/modprobe"

// modules loads the drivers that the boot waits for. The kernel itself asks for modules that are needed later, such as file systems.
func (g *Guest) modules() (bool, error) {
	loader, err := openModules(g.Root, g.commandLine)
	if err != nil {
		return false, plan.Absent(err)
	}
	g.loader.Store(loader)
	var r result
	r.add(g.answerModprobe())
	if _, ok := g.commandLine.Lookup("virtio_mmio.device"); ok { // such devices have no alias
		r.add(g.loadDriver("virtio_mmio"))
	}
	r.add(g.loadBootDrivers())
	// A power button is a device of ACPI's (section 4.8.2.2.1 of its specification), and an input device that the
	// driver makes. Platform devices have the other kind, gpio-keys.
	r.add(g.loadDrivers("/sys/bus/acpi/devices/LNXPWRBN:*", "/sys/bus/acpi/devices/PNP0C0C:*", "/sys/class/input/input*"))
	return r.changed, r.err
}

// loadBootDrivers loads what the boot waits for: the drivers of virtio devices, which appear once their PCI or platform device has its driver.
func (g *Guest) loadBootDrivers() (bool, error) {
	return g.loadDrivers("/sys/bus/pci/devices/*", "/sys/bus/platform/devices/*", "/sys/bus/virtio/devices/*")
}

// loadDrivers loads the drivers of the devices whose directories match the patterns, one pattern after the other.
func (g *Guest) loadDrivers(patterns ...string) (bool, error) {
	if !g.HasModules() {
		return false, nil // without looking at the devices
	}
	var r result
	for _, pattern := range patterns {
		files, _ := filepath.Glob(g.path(pattern + "/modalias"))
		for _, file := range files {
			alias, err := kernelfile.Read(file)
			switch {
			case err == nil:
				r.add(g.loadDriver(alias))
			case !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENODEV): // not gone again
				r.add(false, err)
			}
		}
	}
	return r.changed, r.err
}

// loadDriver loads the driver of a device by its alias. A driver that is not among the modules may be built in, and one
// may be refused by the command line, so both are no errors.
func (g *Guest) loadDriver(alias string) (changed bool, err error) {
	if !g.HasModules() {
		return false, nil
	}
	changed, err = g.loader.Load().Load(alias)
	if errors.Is(err, kmod.ErrNone) {
		err = nil
	}
	return changed, err
}

// WatchDevices loads the drivers of the devices that are there, and of those that appear, until ctx ends. It sets the
// configured kernel parameters that come with a module or a link. It calls report with each error and continues.
func (g *Guest) WatchDevices(ctx context.Context, report func(error)) {
	done := map[string]bool{}
	setSysctls := func(link string) {
		if _, _, err := g.setConfigured(done, link); err != nil {
			report(err)
		}
	}
	note := func(_ bool, err error) {
		if err != nil {
			report(err)
		}
	}
	err := uevent.Watch(ctx,
		// Input devices are on no bus.
		func() {
			note(g.loadDrivers("/sys/bus/*/devices/*", "/sys/class/input/input*"))
			setSysctls("")
		},
		func(e uevent.Event) {
			switch {
			case e.Action != "add":
			case e.Subsystem == "module":
				setSysctls("")
			case e.Subsystem == "net":
				setSysctls(filepath.Base(e.DevPath))
			case e.ModAlias != "":
				note(g.loadDriver(e.ModAlias))
			}
		})
	note(false, err)
}

// netfilter loads the modules of the firewall's rules before the kernel asks for each by
// a process of its own. The network daemon reports a missing module.
func (g *Guest) netfilter() (bool, error) {
	if !g.HasModules() {
		return false, plan.Absent(errors.New("no modules for this kernel"))
	}
	var r result
	for _, module := range []string{"nf_tables", "nft_compat", "xt_conntrack"} {
		changed, err := g.loader.Load().Load(module)
		if err != nil {
			err = plan.Absent(err)
		}
		r.add(changed, err)
	}
	return r.changed, r.err
}

// answerModprobe makes this program the kernel's modprobe (Documentation/admin-guide/
// sysctl/kernel.rst), by a script: the kernel cannot pass our subcommand.
func (g *Guest) answerModprobe() (bool, error) {
	own, err := kernelfile.Read(g.path("/proc/sys/kernel/modprobe"))
	if err = ignoreMissing(err); err != nil || g.exists(own) { // the image's own, or this script
		return false, err
	}
	var r result
	r.add(g.writeFile(modprobePath, "#!"+ProgramPath+" modprobe\n", 0o755))
	r.add(g.setSysctl("kernel/modprobe", modprobePath))
	return r.changed, r.err
}

// Modprobe loads the modules for an alias or a module's name, on the kernel's request.
func Modprobe(name string) error {
	text, err := kernelfile.Read("/proc/cmdline")
	if err != nil {
		return err
	}
	loader, err := openModules("/", config.ParseCommandLine(text))
	if err != nil {
		return err
	}
	_, err = loader.Load(name)
	return err
}

// openModules opens the modules for the running kernel in the guest's root, if the kernel can load them, else those that the initramfs left.
func openModules(root string, l config.CommandLine) (*kmod.Loader, error) {
	sys := filepath.Join(root, "/sys")
	parameters, refused := l.Modules()
	loader, err := kmod.Open(root, sys, parameters, refused)
	if err != nil {
		if kept, errKept := kmod.Open(filepath.Join(root, keptInitramfs), sys, parameters, refused); errKept == nil {
			return kept, nil
		}
	}
	return loader, err
}
