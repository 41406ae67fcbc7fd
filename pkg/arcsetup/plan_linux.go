package arcsetup

import (
	"github.com/arcinit/arcinit/pkg/arcsetup/plan"
)

// Plan lists the steps that set the guest up, in the order of the boot: what the agent needs, and what can follow. Steps that
// do not need each other run side by side. The program adds its own steps; package uinit adds the agent and others.
//
// The steps run, modules, config, hostname and netfilter exist for other steps' sake. The others each stand for one property of the finished guest.
func Plan(g *Guest) (steps, later []plan.Step) {
	steps = []plan.Step{
		// The clock comes first, so that the log has the right times.
		{Name: "clock", Run: g.clock, Doc: "the clock is not before this program's build"},
		{Name: "root", Run: g.moveRoot, Needs: []string{"clock"}, Doc: "the initramfs is a root that pivot_root works on"},
		{Name: "early", Run: g.early, Needs: []string{"root"}, Doc: "/proc, /sys and /dev are mounted; the kernel command line has been read"},
		{Name: "nofile", Run: g.openFiles, Needs: []string{"early"}, Doc: "1048576 open files for PID 1 and every child"},
		{Name: "rcu", Run: g.expediteRCU, Needs: []string{"early"}, Doc: "RCU grace periods are short; container starts wait for them"},
		{Name: "run", Run: g.run, Needs: []string{"early"}, Doc: "tmpfs on /run, where later steps keep state; this program is " + ProgramPath},
		{Name: "modules", Run: g.modules, Needs: []string{"run"}, On: "the file system with the modules",
			Doc: "drivers that the boot waits for are loaded; the kernel's requests for modules are answered"},
	}
	// switchroot is a barrier: no step may resolve a path while the root changes, so it needs every step above and every step below needs it.
	steps = append(steps, plan.Step{Name: "switchroot", Run: g.switchRoot, Needs: plan.Names(steps),
		Limit: g.rootLimit, GiveUp: g.giveUpRoot, On: "the root file system",
		Doc: "with root= on the kernel command line: that root is mounted on / and the initramfs freed"})

	steps = append(steps, []plan.Step{
		// The network daemon needs these first four: leases take longest.
		{Name: "forward", Run: g.forwarding, Needs: []string{"switchroot"}, Doc: "IPv4 is forwarded, lo is up"},
		{Name: "netfilter", Run: g.netfilter, Needs: []string{"switchroot"}, Doc: "the modules that the firewall's rules need are loaded"},
		{Name: "share", Run: g.share("/arcbox"), Needs: []string{"switchroot"}, Limit: g.shareLimit("/arcbox"), On: "the share arcbox",
			Doc: "/arcbox is the virtiofs share arcbox"},
		// /private may hold the VMM's configuration.
		{Name: "private", Run: g.share("private"), Needs: []string{"switchroot"}, Limit: g.shareLimit("private"), On: "the share private",
			Doc: "optional: the virtiofs share private is on /private"},
		{Name: "config", Run: g.configure, Needs: []string{"share", "private"}, On: "the share arcbox, with arcinit.toml, or private",
			Doc: "arcinit.toml and the VMM's configuration have been read"},
		{Name: "hostname", Run: g.hostname, Needs: []string{"config"}, Doc: "the guest has a host name"},

		{Name: "devlinks", Run: g.devLinks, Needs: []string{"switchroot"}, Doc: "/dev/fd, stdin, stdout and stderr link into /proc/self/fd"},
		{Name: "nodes", Run: g.nodes, Needs: []string{"switchroot"}, Doc: "the device nodes that modules promise are in /dev"},
		// The host's file may say where the next three are mounted.
		{Name: "users", Run: g.share("users"), Needs: []string{"config"}, Limit: g.shareLimit("users"), On: "the share users",
			Doc: "optional: the virtiofs share users is on /Users"},
		{Name: "rosetta", Run: g.rosetta, Needs: []string{"config"}, Limit: g.shareLimit("rosetta"), On: "the share rosetta",
			Doc: "optional: the virtiofs share rosetta is on /media/rosetta and runs x86-64 programs on arm64"},

		// The layers cover a root that may be read-only. They need private, because its mount point may be made on a
		// root in which /etc and /tmp are links into /private; and config, because /etc covers the image's own files.
		{Name: "layers", Run: g.layers, Needs: []string{"private", "config"}, On: "/etc of the root",
			Doc: "tmpfs on /tmp, /var and /etc; the image's own /etc is copied in"},
		{Name: "jailer", Run: g.jailer, Needs: []string{"layers"}, Doc: "tmpfs that allows device nodes on /var/lib/arcbox/jailer and /var/jail; the other tmpfs of arcinit.toml"},
		{Name: "shares", Run: g.furtherShares, Needs: []string{"layers"}, Limit: g.shareLimit(""), On: "a further share",
			Doc: "optional: the other shares of arcinit.toml are mounted"},
		{Name: "disks", Run: g.mountDisks, Needs: []string{"layers", "shares"}, Limit: g.disksLimit, GiveUp: func() bool { g.disksGivenUp.Store(true); return true }, On: "a disk of arcinit.toml",
			Doc: "optional: the disks of arcinit.toml are mounted, and as large as their devices"},
		{Name: "dirs", Run: g.directories, Needs: []string{"layers"}, Doc: "/var/run links to /run; docker's and containerd's directories are there"},

		{Name: "hosts", Run: g.hosts, Needs: []string{"layers", "hostname"}, Doc: "/etc/hosts has the host name and localhost"},
		{Name: "resolv", Run: g.resolvConf, Needs: []string{"layers"}, Doc: "/etc/resolv.conf names the local server"},
		{Name: "accounts", Run: g.accounts, Needs: []string{"layers"}, Doc: "/etc/passwd has root and nobody; /etc/group has root, tty and nobody"},
		{Name: "machineid", Run: g.machineID, Needs: []string{"layers", "share"}, On: "the share arcbox",
			Doc: "/etc/machine-id is the one that the share keeps"},
		{Name: "docker", Run: g.dockerDaemon, Needs: []string{"layers"}, On: "the share arcbox, with docker-engine.json", Doc: "/etc/docker/daemon.json has what containers need"},
		{Name: "ca", Run: g.certificates, Needs: []string{"layers"}, On: "/cacerts of the root, or the share with certificates",
			Doc: "optional: TLS programs find the certificates in the image's /cacerts, and those of arcinit.toml"},

		{Name: "cgroup", Run: g.cgroup, Needs: []string{"switchroot"}, Doc: "cgroup2 on /sys/fs/cgroup"},
		{Name: "devpts", Run: g.devpts, Needs: []string{"switchroot"}, Doc: "devpts on /dev/pts; /dev/ptmx is usable"},
		{Name: "shm", Run: g.sharedMemory, Needs: []string{"switchroot"}, Doc: "tmpfs on /dev/shm"},
		{Name: "cache", Run: g.cache, Needs: []string{"switchroot"}, Doc: "sysfs has all attributes of the first CPU's caches"},
		{Name: "binfmt", Run: g.binfmt, Needs: []string{"rosetta", "share", "config"}, On: "the share with an interpreter",
			Doc: "optional: FEX, and the interpreters of arcinit.toml, run other machines' programs"},
	}...)
	steps = append(steps, plan.Step{Name: "propagation", Run: g.shareMounts, Needs: plan.Names(steps), Doc: "/ and every mount below it are shared"})
	return steps, []plan.Step{
		// Forwarding resets some parameters; the firewall's modules add others.
		{Name: "sysctl", Run: g.sysctls, Needs: []string{"config", "nofile", "forward", "netfilter"},
			Doc: "kernel parameters suit container engines"},
		{Name: "nodemodes", Run: g.nodeModes, Needs: []string{"nodes"}, Doc: "device nodes such as /dev/fuse are open to everybody"},
		{Name: "zram", Run: g.zram, Needs: []string{"config"}, Doc: "optional: memory is swapped into compressed memory"},
		{Name: "keepid", Run: g.keepMachineID, Needs: []string{"machineid"}, On: "the share arcbox", Doc: "the share keeps a new machine id"},
		{Name: "dax", Run: g.share("arcbox-dax"), Needs: []string{"propagation"}, Limit: g.shareLimit("arcbox-dax"), On: "the share arcbox-dax",
			Doc: "optional: the virtiofs share arcbox-dax is on /run/arcbox-dax, with dax=always"},
	}
}
