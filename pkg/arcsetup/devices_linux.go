package arcsetup

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/arcinit/arcinit/internal/mounts"
	"github.com/arcinit/arcinit/pkg/arcsetup/plan"
	"github.com/u-root/u-root/pkg/mount"
	"golang.org/x/sys/unix"
)

// early mounts what every other step reads and writes, and reads the kernel command line.
func (g *Guest) early() (bool, error) {
	var r result
	// mkuimage's images have a / with mode 0700. A read-only root keeps its mode.
	if changed, err := mounts.SetMode(g.path("/"), 0o755); !errors.Is(err, unix.EROFS) {
		r.add(changed, err)
	}
	for _, m := range []mounts.Point{
		{Device: "proc", Path: "/proc", FSType: "proc", Magic: unix.PROC_SUPER_MAGIC, Flags: mounts.Guarded},
		{Device: "sysfs", Path: "/sys", FSType: "sysfs", Magic: unix.SYSFS_MAGIC, Flags: mounts.Guarded},
		// statfs(2) shows a devtmpfs as the tmpfs that it is made of.
		{Device: "devtmpfs", Path: "/dev", FSType: "devtmpfs", Magic: unix.TMPFS_MAGIC, Flags: unix.MS_NOSUID, Mode: 0o755},
	} {
		r.add(m.Mount(g.Root))
	}
	r.add(false, g.readCommandLine())
	return r.changed, r.err
}

// devLinks makes the links that devtmpfs, unlike udev, does not make.
func (g *Guest) devLinks() (bool, error) {
	var r result
	for path, target := range map[string]string{
		"/dev/fd":     "/proc/self/fd",
		"/dev/stdin":  "/proc/self/fd/0",
		"/dev/stdout": "/proc/self/fd/1",
		"/dev/stderr": "/proc/self/fd/2",
	} {
		r.add(g.symlink(target, path))
	}
	return r.changed, r.err
}

// nodes makes the device nodes by which programs make the kernel load a module.
func (g *Guest) nodes() (bool, error) {
	loader := g.loader.Load()
	if loader == nil {
		return false, plan.Absent(errors.New("no modules for this kernel"))
	}
	var r result
	for _, n := range loader.Nodes() {
		path := g.path("/dev/" + n.Path)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		if err == nil {
			err = unix.Mknod(path, n.Mode, n.Device)
		}
		if !errors.Is(err, fs.ErrExist) {
			r.add(err == nil, err)
		}
	}
	return r.changed, r.err
}

// nodeModes opens device nodes to everybody that systemd does (rules.d/50-udev-default.rules), whether the driver is a module or not.
func (g *Guest) nodeModes() (bool, error) {
	var r result
	for name, mode := range map[string]uint32{"fuse": 0o666, "kvm": 0o666, "net/tun": 0o666, "vfio/vfio": 0o666, "vhost-net": 0o666,
		"vsock": 0o666, "vhost-vsock": 0o666, "btrfs-control": 0o660, "loop-control": 0o660} {
		changed, err := mounts.SetMode(g.path("/dev/"+name), mode)
		r.add(changed, ignoreMissing(err))
	}
	return r.changed, r.err
}

func (g *Guest) devpts() (bool, error) {
	m := mounts.Point{
		Device: "devpts", Path: "/dev/pts", FSType: "devpts", Magic: unix.DEVPTS_SUPER_MAGIC,
		Flags: unix.MS_NOSUID | unix.MS_NOEXEC,
		// Group 5 is tty, which the step accounts makes.
		Data: "gid=5,mode=0620,ptmxmode=0666",
	}
	var r result
	r.add(m.Mount(g.Root))
	// A kernel with Unix98 ptys makes /dev/ptmx, which belongs to the instance on /dev/pts (Documentation/filesystems/devpts.rst).
	if !g.exists("/dev/ptmx") {
		r.add(g.symlink("pts/ptmx", "/dev/ptmx"))
	}
	return r.changed, r.err
}

func (g *Guest) sharedMemory() (bool, error) {
	m := tmpfs("/dev/shm", 0o1777)
	m.Device, m.Flags = "shm", mounts.Guarded
	return m.Mount(g.Root)
}

// cgroup mounts version 2 in place of version 1, which u-root's init mounts below a tmpfs: a controller belongs to one version at a time.
func (g *Guest) cgroup() (bool, error) {
	var r result
	path, _, version1, err := tmpfs("/sys/fs/cgroup", 0).Find(g.Root)
	if version1 {
		err = mount.Unmount(path, false, true) // lazily, with the mounts below
	}
	r.add(version1, err)
	r.add(mounts.Point{
		Device: "cgroup2", Path: "/sys/fs/cgroup", FSType: "cgroup2", Magic: unix.CGROUP2_SUPER_MAGIC,
		Flags: mounts.Guarded, Data: "nsdelegate,memory_recursiveprot",
	}.Mount(g.Root))
	return r.changed, r.err
}
