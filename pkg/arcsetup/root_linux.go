package arcsetup

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// moveRoot makes the initramfs a root like any other. It is the one mount that
// has nothing below it, so before Linux 7.0 pivot_root(2), and with it every
// container runtime, fails on it with EINVAL. Bound to a directory and moved over
// itself it stays the same file system, on a mount that has a parent.
//
// Nothing may be mounted before: a mount made on the old one is out of sight.
func (g *Guest) moveRoot() (changed bool, err error) {
	if initramfs, err := onInitramfs(); err != nil || !initramfs || !g.OwnRoot {
		return false, err
	}
	const dir = "/.root"
	if err := os.Mkdir(dir, 0o700); err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, os.Remove(dir)) }()
	if err := unix.Mount("/", dir, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return false, fmt.Errorf("bind / to %s: %w", dir, err)
	}
	if err := becomeRoot(dir); err != nil {
		return false, errors.Join(err, unmount(dir))
	}
	return true, nil
}

// becomeRoot makes what is mounted on dir the root of this process. The threads
// of a process share their root, and PID 1 shares it with the kernel's own, which
// look there for modprobe.
func becomeRoot(dir string) error {
	if err := os.Chdir(dir); err != nil {
		return err
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return errors.Join(fmt.Errorf("move the mount %s over /: %w", dir, err), os.Chdir("/"))
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("chroot to the moved root: %w", err)
	}
	return os.Chdir("/")
}

// share makes / and all that is mounted below it shared, as systemd does:
// kubelet, and docker's rshared volumes, refuse what is not
// (Documentation/filesystems/sharedsubtree.rst). It does so once: what is mounted
// below a shared mount is shared, too, and what is not by then is so on purpose.
func (g *Guest) share() (changed bool, err error) {
	mounts, err := g.readFile("/proc/self/mountinfo")
	if err != nil {
		return false, err
	}
	for line := range strings.Lines(mounts) {
		if f := strings.Fields(line); len(f) > 6 && f[4] == "/" && strings.Contains(line, " shared:") {
			return false, nil
		}
	}
	if err := unix.Mount("", g.path("/"), "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
		return false, fmt.Errorf("make / and all below it shared: %w", err)
	}
	return true, nil
}
