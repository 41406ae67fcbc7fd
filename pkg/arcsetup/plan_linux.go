package arcsetup

import (
	"errors"

	"github.com/arcinit/arcinit/pkg/arcsetup/plan"
)

// Plan is the boot, from top to bottom. Steps that need nothing of each other
// run side by side. Each step is named for the one thing it sees to; run,
// modules, config, hostname, network, netfilter and report are there for other
// steps' sake.
func Plan(g *Guest) []plan.Step {
	steps := []plan.Step{
		{Name: "clock", Run: g.clock,
			Doc: "the clock is not before this program's build"},
		// From here on, the times in the log are right.
		{Name: "root", Run: g.moveRoot, Needs: []string{"clock"},
			Doc: "the initramfs is a root that pivot_root works on"},
		{Name: "early", Run: g.early, Needs: []string{"root"}, Wants: []string{"CONFIG_SYSFS", "CONFIG_DEVTMPFS"},
			Doc: "/proc, /sys and /dev are mounted, the kernel command line is read"},
		{Name: "nofile", Run: g.openFiles, Needs: []string{"early"},
			Doc: "1048576 open files for PID 1 and every child"},
		{Name: "console", Run: g.startConsole, Needs: []string{"nofile"},
			Doc: "optional: a root shell on the console (arcbox.debug_console)"},
		{Name: "run", Run: g.run, Needs: []string{"early"},
			Doc: "tmpfs on /run, where what follows keeps its state; this program is " + ProgramPath},
		{Name: "modules", Run: g.modules, Needs: []string{"run"},
			Doc: "drivers that the boot waits for are loaded; modules on the kernel's request"},
	}
	// Nothing may look up a path while the root changes: what is above has
	// ended, and all below waits.
	steps = append(steps, plan.Step{Name: "switchroot", Run: g.switchRoot, Needs: plan.Names(steps),
		Doc: "with root= on the kernel command line: it is mounted on /, the initramfs freed"})

	steps = append(steps, []plan.Step{
		// What the network daemon needs comes first, since leases take longest:
		// forwarding before any interface is configured, whose settings it
		// resets, and the host's name and configuration.
		{Name: "forward", Run: g.forwarding, Needs: []string{"switchroot"},
			Doc: "IPv4 is forwarded, lo is up"},

		// What the host shares and says. /private may hold the VMM's
		// configuration.
		{Name: "share", Run: g.mainShare, Needs: []string{"switchroot"}, Wants: []string{"CONFIG_VIRTIO_FS"},
			Doc: "/arcbox is the virtiofs share arcbox"},
		{Name: "private", Run: g.privateShare, Needs: []string{"switchroot"}, Wants: []string{"CONFIG_VIRTIO_FS"},
			Doc: "optional virtiofs share private on /private"},
		{Name: "config", Run: g.configure, Needs: []string{"share", "private"},
			Doc: "arcinit.toml and the VMM's configuration are read"},
		{Name: "hostname", Run: g.hostname, Needs: []string{"config"},
			Doc: "the host has a name"},
		{Name: "netfilter", Run: g.netfilter, Needs: []string{"switchroot"},
			Doc: "the modules of the firewall's rules are loaded"},
		{Name: "network", Run: g.startNetwork, Needs: []string{"forward", "netfilter", "hostname"}, Wants: []string{"CONFIG_PACKET", "CONFIG_VIRTIO_NET"},
			Doc: "the network daemon runs: it configures the NICs and the firewall"},
		{Name: "log", Run: g.openLog, Needs: []string{"share"},
			Doc: "the log goes to the share as well"},

		{Name: "devlinks", Run: g.devLinks, Needs: []string{"switchroot"},
			Doc: "/dev/fd, stdin, stdout and stderr link into /proc/self/fd"},
		{Name: "oom", Run: g.protect, Needs: []string{"switchroot"},
			Doc: "the kernel short of memory spares this process, not its children"},
		// When there are other processes, and before the agent is one.
		{Name: "signals", Run: g.takeSignals, Needs: []string{"network"},
			Doc: "no signal ends this process"},
		{Name: "powerbutton", Run: g.powerButton, Needs: []string{"switchroot"}, Wants: []string{"CONFIG_INPUT_EVDEV", "CONFIG_KEYBOARD_GPIO"},
			Doc: "the power button powers the guest off"},
		{Name: "users", Run: g.usersShare, Needs: []string{"switchroot"}, Wants: []string{"CONFIG_VIRTIO_FS"},
			Doc: "optional virtiofs share users on /Users"},
		{Name: "dax", Run: g.daxShare, Needs: []string{"switchroot"}, Wants: []string{"CONFIG_VIRTIO_FS", "CONFIG_FUSE_DAX"},
			Doc: "optional virtiofs share arcbox-dax on /run/arcbox-dax, dax=always"},
		{Name: "rosetta", Run: g.rosetta, Needs: []string{"switchroot"}, Wants: []string{"CONFIG_VIRTIO_FS", "CONFIG_BINFMT_MISC"},
			Doc: "optional virtiofs share rosetta on /media/rosetta; it runs x86-64 programs on arm64"},

		// Writable layers over a root that may be read-only. /private comes
		// before: its mount point may have to be made on a root that /etc and
		// /tmp symlink into. So does what the image itself has to say, which
		// they cover.
		{Name: "layers", Run: g.layers, Needs: []string{"private", "config"},
			Doc: "tmpfs on /tmp, /var and /etc; what the image has in /etc survives"},
		{Name: "jailer", Run: g.jailer, Needs: []string{"layers"},
			Doc: "tmpfs that allows device nodes on /var/lib/arcbox/jailer"},
		{Name: "dirs", Run: g.directories, Needs: []string{"layers"},
			Doc: "/var/run is /run; directories of docker and containerd"},

		// Files that programs expect.
		{Name: "hosts", Run: g.hosts, Needs: []string{"layers", "hostname"},
			Doc: "/etc/hosts has the host's name and localhost"},
		{Name: "resolv", Run: g.resolvConf, Needs: []string{"layers"},
			Doc: "/etc/resolv.conf names the local server"},
		{Name: "accounts", Run: g.accounts, Needs: []string{"layers"},
			Doc: "/etc/passwd has root and nobody, /etc/group root, tty and nobody"},
		{Name: "machineid", Run: g.machineID, Needs: []string{"layers", "share"},
			Doc: "/etc/machine-id is as the share keeps it"},
		{Name: "docker", Run: g.dockerDaemon, Needs: []string{"layers"},
			Doc: "/etc/docker/daemon.json"},
		{Name: "ca", Run: g.certificates, Needs: []string{"layers"},
			Doc: "optional: the image's /cacerts is where TLS programs look"},

		// Kernel file systems.
		{Name: "cgroup", Run: g.cgroup, Needs: []string{"switchroot"}, Wants: []string{"CONFIG_CGROUPS"},
			Doc: "cgroup2 on /sys/fs/cgroup"},
		{Name: "devpts", Run: g.devpts, Needs: []string{"switchroot"}, Wants: []string{"CONFIG_UNIX98_PTYS"},
			Doc: "devpts on /dev/pts, /dev/ptmx usable"},
		{Name: "shm", Run: g.sharedMemory, Needs: []string{"switchroot"},
			Doc: "tmpfs on /dev/shm"},
		// Forwarding resets some of them, others come with the firewall.
		{Name: "sysctl", Run: g.sysctls, Needs: []string{"config", "nofile", "forward", "netfilter"},
			Doc: "kernel parameters are as container engines need them"},
		{Name: "cache", Run: g.cache, Needs: []string{"switchroot"},
			Doc: "the attributes of the first CPU's caches are complete"},
		{Name: "binfmt", Run: g.binfmt, Needs: []string{"rosetta", "share", "config"}, Wants: []string{"CONFIG_BINFMT_MISC"},
			Doc: "optional: FEX, and the handlers that arcinit.toml names, run other machines' programs"},
	}...)
	steps = append(steps, plan.Step{Name: "propagation", Run: g.share, Needs: plan.Names(steps),
		Doc: "/ and all that is mounted below it are shared"})
	// The agent finds the set-up done, and the report of it written.
	steps = append(steps, plan.Step{Name: "report", Run: g.saveReport, Needs: plan.Names(steps),
		Doc: "the report is in " + ReportPath + ", and soon on the share"})
	return append(steps,
		plan.Step{Name: "agent", Run: g.startAgent, Needs: []string{"report"},
			Doc: "the agent runs, and is started again when it ends"},
		plan.Step{Name: "services", Run: g.startServices, Needs: []string{"agent"},
			Doc: "optional: the services that arcinit.toml names run"},
		// Loading takes the processor's time, which the agent has first.
		plan.Step{Name: "hotplug", Run: g.hotplug, Needs: []string{"agent"},
			Doc: "drivers of other devices are loaded, and of those that appear later"})
}

// These steps are done by the program around the plan.
func (g *Guest) protect() (bool, error)      { return g.Protect() }
func (g *Guest) takeSignals() (bool, error)  { return g.TakeSignals() }
func (g *Guest) powerButton() (bool, error)  { return g.WatchPowerButton() }
func (g *Guest) startNetwork() (bool, error) { return g.StartNetwork() }
func (g *Guest) saveReport() (bool, error)   { return g.SaveReport() }
func (g *Guest) startAgent() (bool, error)   { return g.StartAgent() }

func (g *Guest) startConsole() (bool, error) {
	if !g.commandLine.Config().DebugConsole {
		return false, plan.Absent(errors.New("not asked for"))
	}
	changed, err := g.StartConsole()
	if root, _ := g.commandLine.Root(); err != nil && root.Device != "" && g.OwnRoot {
		err = plan.Fallback(err) // that root is still to come
	}
	return changed, err
}

func (g *Guest) startServices() (bool, error) {
	if len(g.Config.Services) == 0 {
		return false, plan.Absent(errors.New("none configured"))
	}
	return g.StartServices()
}

func (g *Guest) openLog() (bool, error) {
	if !g.HasShare() {
		return false, plan.Absent(errors.New("without the share there is no log file"))
	}
	return g.OpenLog()
}
