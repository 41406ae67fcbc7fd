package arcsetup

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// guarded are the flags of a mount that has neither programs nor device nodes.
const guarded = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC

// early mounts what every other step reads and writes, and reads the kernel
// command line.
func (g *Guest) early() (bool, error) {
	var r result
	r.add(g.openRoot())
	for _, m := range []mountPoint{
		{device: "proc", path: "/proc", fsType: "proc", magic: unix.PROC_SUPER_MAGIC, flags: guarded},
		{device: "sysfs", path: "/sys", fsType: "sysfs", magic: unix.SYSFS_MAGIC, flags: guarded},
		// statfs(2) shows a devtmpfs as the tmpfs that it is made of.
		{device: "devtmpfs", path: "/dev", fsType: "devtmpfs", magic: unix.TMPFS_MAGIC, flags: unix.MS_NOSUID, mode: 0o755},
	} {
		r.add(g.mount(m))
	}
	r.add(false, g.readCommandLine())
	return r.changed, r.err
}

// openRoot lets all users into /, which has mode 0700 in mkuimage's images. A
// read-only root keeps its mode.
func (g *Guest) openRoot() (changed bool, err error) {
	changed, err = setMode(g.path("/"), 0o755)
	if errors.Is(err, unix.EROFS) {
		return false, nil
	}
	return changed, err
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

func (g *Guest) devpts() (bool, error) {
	var r result
	r.add(g.mount(mountPoint{
		device: "devpts", path: "/dev/pts", fsType: "devpts", magic: unix.DEVPTS_SUPER_MAGIC,
		flags: unix.MS_NOSUID | unix.MS_NOEXEC,
		// Group 5 is tty, which the step accounts makes.
		data: "gid=5,mode=0620,ptmxmode=0666",
	}))
	// A kernel with Unix98 ptys makes /dev/ptmx, which belongs to the instance on
	// /dev/pts (Documentation/filesystems/devpts.rst).
	if !g.exists("/dev/ptmx") {
		r.add(g.symlink("pts/ptmx", "/dev/ptmx"))
	}
	return r.changed, r.err
}

func (g *Guest) sharedMemory() (bool, error) {
	m := tmpfs("/dev/shm", 0o777|os.ModeSticky)
	m.device, m.flags = "shm", guarded
	return g.mount(m)
}
