package arcsetup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/u-root/u-root/pkg/mount"
	"golang.org/x/sys/unix"
)

// mountPoint is one mount that has to be there.
type mountPoint struct {
	device, path, fsType, data string
	flags                      uintptr
	// magic is the file system's number in statfs(2), by which it is known
	// to be mounted already.
	magic int64
	// mode is the permission of a tmpfs's root; zero leaves the default.
	mode os.FileMode
}

const permissionFlags = unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC

// mount makes m hold: mounted, with just the permission flags that m has (the
// kernel's init or u-root's may have mounted it with others), and with its mode.
func (g *Guest) mount(m mountPoint) (changed bool, err error) {
	flags, mounted, err := m.mounted(g.Root)
	if err != nil {
		return false, err
	}
	m.path = g.path(m.path)
	if !mounted {
		makeDir := func() error { return os.MkdirAll(m.path, 0o755) }
		if _, err := mount.Mount(m.device, m.path, m.fsType, m.options(), m.flags, makeDir); err != nil {
			return false, explainType(m.fsType, err)
		}
		return true, nil
	}
	if flags != m.flags&permissionFlags {
		if err := unix.Mount("", m.path, "", unix.MS_REMOUNT|unix.MS_BIND|m.flags&permissionFlags, ""); err != nil {
			return false, fmt.Errorf("remount %s with flags %#x: %w", m.path, m.flags, err)
		}
		changed = true
	}
	if m.mode != 0 {
		fixed, err := setMode(m.path, m.mode)
		return changed || fixed, err
	}
	return changed, nil
}

// options are what the file system itself is told.
func (m mountPoint) options() string {
	if m.mode == 0 {
		return m.data
	}
	return fmt.Sprintf("mode=%04o", unixMode(m.mode))
}

// detached makes m's file system without mounting it anywhere (fsopen(2), Linux
// 5.2), and returns a descriptor of its root.
func (m mountPoint) detached() (fd int, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("make the %s %q for %s: %w", m.fsType, m.device, m.path, err)
		}
	}()
	context, err := unix.Fsopen(m.fsType, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return 0, explainType(m.fsType, err)
	}
	defer unix.Close(context) //nolint:errcheck // its mount holds what matters
	if err := unix.FsconfigSetString(context, "source", m.device); err != nil {
		return 0, err
	}
	if options := m.options(); options != "" {
		for option := range strings.SplitSeq(options, ",") {
			key, value, _ := strings.Cut(option, "=")
			if err := unix.FsconfigSetString(context, key, value); err != nil {
				return 0, fmt.Errorf("option %s: %w", option, err)
			}
		}
	}
	if err := unix.FsconfigCreate(context); err != nil {
		return 0, err
	}
	// MOUNT_ATTR_RDONLY, _NOSUID, _NODEV and _NOEXEC have the values of their
	// MS_ namesakes.
	return unix.Fsmount(context, unix.FSMOUNT_CLOEXEC, int(m.flags&permissionFlags))
}

// mountMade is mount for a file system that is made before its mount point: one
// that a root which is read-only may lack, and that no one needs where the host
// offers nothing to mount there; or one that comes with the file system's module.
func (g *Guest) mountMade(m mountPoint) (changed bool, err error) {
	if _, mounted, err := m.mounted(g.Root); err != nil || mounted {
		return false, err
	}
	fd, err := m.detached()
	if err != nil {
		return false, err
	}
	defer unix.Close(fd) //nolint:errcheck // attached by now, or of no use
	if err := attach(fd, g.path(m.path)); err != nil {
		return false, fmt.Errorf("%s %s: %w", m.fsType, m.device, err)
	}
	return true, nil
}

// attach mounts the file system with the root fd on path.
func attach(fd int, path string) error {
	if err := os.MkdirAll(path, 0o755); err != nil {
		return fmt.Errorf("mount point: %w", err)
	}
	if err := unix.MoveMount(fd, "", unix.AT_FDCWD, path, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("mount on %s: %w", path, err)
	}
	return nil
}

// mounted reports whether a file system of m's type is mounted on its path
// itself, below root, and with which permission flags.
func (m mountPoint) mounted(root string) (flags uintptr, ok bool, err error) {
	path := filepath.Join(root, m.path)
	if !isMountPoint(path) {
		return 0, false, nil
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil {
		return 0, false, fmt.Errorf("statfs %s: %w", path, err)
	}
	// The ST_ flags of statfs(2) have the values of their MS_ namesakes.
	return uintptr(fs.Flags) & permissionFlags, int64(fs.Type) == m.magic, nil
}

// isMountPoint reports whether something is mounted on path itself, by what
// statx(2) says of it since Linux 5.8: no table of mounts need be read.
func isMountPoint(path string) bool {
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, 0, &st)
	return err == nil && st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
}

// mountAll mounts each of the points, whatever becomes of the others.
func (g *Guest) mountAll(points []mountPoint) (changed bool, err error) {
	for _, m := range points {
		c, e := g.mount(m)
		changed, err = changed || c, errors.Join(err, e)
	}
	return changed, err
}

// setMode gives path the permission bits mode, and says whether it had others.
func setMode(path string, mode os.FileMode) (changed bool, err error) {
	st, err := os.Lstat(path)
	if err != nil {
		return false, err
	}
	const bits = os.ModePerm | os.ModeSticky
	if st.Mode()&bits == mode&bits {
		return false, nil
	}
	return true, os.Chmod(path, mode)
}

// unixMode is mode as the kernel writes it.
func unixMode(mode os.FileMode) uint32 {
	m := uint32(mode.Perm())
	if mode&os.ModeSticky != 0 {
		m |= unix.S_ISVTX
	}
	return m
}
