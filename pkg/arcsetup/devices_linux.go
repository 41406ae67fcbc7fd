package arcsetup

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// early mounts what every other step reads and writes, and reads the kernel
// command line.
func (g *Guest) early() (bool, error) {
	const guarded = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	opened, err := g.openRoot()
	changed, errMount := g.mountAll([]mountPoint{
		{device: "proc", path: "/proc", fsType: "proc", magic: unix.PROC_SUPER_MAGIC, flags: guarded},
		{device: "sysfs", path: "/sys", fsType: "sysfs", magic: unix.SYSFS_MAGIC, flags: guarded},
		// A devtmpfs says in statfs that it is the tmpfs it is built on.
		{device: "devtmpfs", path: "/dev", fsType: "devtmpfs", magic: unix.TMPFS_MAGIC, flags: unix.MS_NOSUID, mode: 0o755},
	})
	return opened || changed, errors.Join(err, errMount, g.readCommandLine())
}

// openRoot lets all users into /: mkuimage's images have it 0700. A root that is
// read-only has the mode that its maker chose.
func (g *Guest) openRoot() (changed bool, err error) {
	changed, err = setMode(g.path("/"), 0o755)
	if errors.Is(err, unix.EROFS) {
		return false, nil
	}
	return changed, err
}

// devLinks makes the links that devtmpfs, unlike udev, leaves out.
func (g *Guest) devLinks() (changed bool, err error) {
	for _, l := range [][2]string{
		{"/proc/self/fd", "/dev/fd"},
		{"/proc/self/fd/0", "/dev/stdin"},
		{"/proc/self/fd/1", "/dev/stdout"},
		{"/proc/self/fd/2", "/dev/stderr"},
	} {
		c, e := g.symlink(l[0], l[1])
		changed, err = changed || c, errors.Join(err, e)
	}
	return changed, err
}

func (g *Guest) devpts() (bool, error) {
	changed, err := g.mount(mountPoint{
		device: "devpts", path: "/dev/pts", fsType: "devpts", magic: unix.DEVPTS_SUPER_MAGIC,
		flags: unix.MS_NOSUID | unix.MS_NOEXEC,
		// gid 5 is tty, in the group file that the step accounts ensures.
		data: "gid=5,mode=0620,ptmxmode=0666",
	})
	// The kernel makes /dev/ptmx where it has Unix98 ptys; opening it finds
	// the instance on /dev/pts (Documentation/filesystems/devpts.rst).
	if _, e := os.Stat(g.path("/dev/ptmx")); e != nil {
		c, e := g.symlink("pts/ptmx", "/dev/ptmx")
		changed, err = changed || c, errors.Join(err, e)
	}
	return changed, err
}

func (g *Guest) sharedMemory() (bool, error) {
	return g.mount(mountPoint{
		device: "shm", path: "/dev/shm", fsType: "tmpfs", magic: unix.TMPFS_MAGIC,
		flags: unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, mode: 0o777 | os.ModeSticky,
	})
}

// cgroup mounts the unified hierarchy. u-root's init has mounted the first
// version there; a controller belongs to one version at a time.
func (g *Guest) cgroup() (bool, error) {
	const path = "/sys/fs/cgroup"
	m := mountPoint{
		device: "cgroup2", path: path, fsType: "cgroup2", magic: unix.CGROUP2_SUPER_MAGIC,
		flags: unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC,
		data:  "nsdelegate,memory_recursiveprot",
	}
	undone, err := g.unmountCgroup1(path)
	changed, errMount := g.mount(m)
	if errors.Is(errMount, unix.EINVAL) {
		// Linux before 5.7 does not know memory_recursiveprot.
		m.data = "nsdelegate"
		changed, errMount = g.mount(m)
	}
	return undone || changed, errors.Join(err, errMount)
}

// unmountCgroup1 unmounts the tmpfs at path and the hierarchies mounted on its
// directories.
func (g *Guest) unmountCgroup1(path string) (changed bool, err error) {
	tmpfs := mountPoint{path: path, magic: unix.TMPFS_MAGIC}
	if _, mounted, err := tmpfs.mounted(g.Root); err != nil || !mounted {
		return false, err
	}
	entries, err := os.ReadDir(g.path(path))
	for _, e := range entries {
		v1 := mountPoint{path: path + "/" + e.Name(), magic: unix.CGROUP_SUPER_MAGIC}
		if _, mounted, _ := v1.mounted(g.Root); mounted {
			err = errors.Join(err, unmount(g.path(v1.path)))
		}
	}
	return true, errors.Join(err, unmount(g.path(path)))
}

func unmount(path string) error {
	if err := unix.Unmount(path, unix.MNT_DETACH); err != nil {
		return fmt.Errorf("unmount %s: %w", path, err)
	}
	return nil
}
