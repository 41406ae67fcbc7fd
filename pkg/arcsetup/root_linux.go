package arcsetup

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
	"github.com/u-root/u-root/pkg/mount"
	"golang.org/x/sys/unix"
)

// moveRoot makes the initramfs a root like any other. It has no parent mount, so before Linux 7.0 pivot_root(2) fails
// on it with EINVAL, and with that every container runtime. moveRoot binds the initramfs to a directory and moves this
// mount over /. It comes before all other mounts: one on the old root would be out of sight.
func (g *Guest) moveRoot() (changed bool, err error) {
	if initramfs, err := mount.IsTmpRamfs("/"); err != nil || !initramfs || !g.OwnRoot {
		return false, err
	}
	const dir = "/.root"
	if err := os.Mkdir(dir, 0o700); err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, os.Remove(dir)) }()
	if _, err := mount.Mount("/", dir, "", "", unix.MS_BIND|unix.MS_REC); err != nil {
		return false, err
	}
	if err := becomeRoot(dir); err != nil {
		return false, errors.Join(err, mount.Unmount(dir, false, true))
	}
	return true, nil
}

// becomeRoot makes what is mounted on dir the root of this process, for all threads.
// PID 1 shares its root with the kernel's threads, which look there for modprobe.
func becomeRoot(dir string) error {
	if err := os.Chdir(dir); err != nil {
		return err
	}
	if err := mount.MoveMount(".", "/"); err != nil {
		return errors.Join(fmt.Errorf("move the mount %s to /: %w", dir, err), os.Chdir("/"))
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("chroot to the moved root: %w", err)
	}
	return os.Chdir("/")
}

// shareMounts makes / and all mounts below it shared, as systemd does: kubelet and docker's rshared volumes require it
// (Documentation/filesystems/sharedsubtree.rst). Below a / that is shared already, mounts are shared, or private on purpose.
func (g *Guest) shareMounts() (changed bool, err error) {
	isRoot := func(m *mountinfo.Info) (skip, stop bool) { return m.Mountpoint != "/", m.Mountpoint == "/" }
	roots, err := mountinfo.GetMounts(isRoot)
	if err != nil {
		return false, err
	}
	if slices.ContainsFunc(roots, func(m *mountinfo.Info) bool { return strings.Contains(m.Optional, "shared:") }) {
		return false, nil
	}
	if _, err := mount.Mount("", g.path("/"), "", "", unix.MS_REC|unix.MS_SHARED); err != nil {
		return false, fmt.Errorf("make all mounts shared: %w", err)
	}
	return true, nil
}
