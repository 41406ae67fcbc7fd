// Package mounts mounts file systems, each once, below the directory that is the guest's root. It must not know what they are for.
package mounts

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	securejoin "github.com/cyphar/filepath-securejoin"
	"github.com/u-root/u-root/pkg/mount"
	"golang.org/x/sys/unix"
)

// Point is a mount that the guest needs.
type Point struct {
	// Device, FSType, Flags and Data are arguments of mount(2), Path is the mount point in the guest.
	Device, Path, FSType, Data string
	Flags                      uintptr
	// Magic is the file system's type in statfs(2), which tells an existing mount.
	Magic int64
	// Mode is the mode of a tmpfs's root, as in chmod(2); zero is the kernel's default.
	Mode uint32
}

// Guarded are the flags of a mount that has neither programs nor device nodes.
const Guarded = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC

const permissionFlags = unix.MS_RDONLY | Guarded

// Mount mounts m, unless it is mounted. An existing mount, such as one by u-root's init, gets m's flags and mode, if m
// has any. A mount point that is missing stays so where there is nothing to mount: a read-only root may lack it.
func (m Point) Mount(root string) (changed bool, err error) {
	path, flags, mounted, err := m.Find(root)
	if err != nil {
		return false, err
	}
	if !mounted {
		_, err := mount.Mount(m.Device, path, m.FSType, m.options(), m.Flags)
		if errors.Is(err, fs.ErrNotExist) && os.Mkdir(path, 0o755) == nil {
			if _, err = mount.Mount(m.Device, path, m.FSType, m.options(), m.Flags); err != nil {
				_ = os.Remove(path)
			}
		}
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTDIR) {
			return err == nil, ExplainType(m.FSType, err)
		}
		fd, err := m.Create()
		if err != nil {
			return false, err
		}
		defer unix.Close(fd) //nolint:errcheck // the mount stays
		return m.Attach(root, fd)
	}
	if want := m.Flags & permissionFlags; want != 0 && flags != want {
		if _, err := mount.Mount("", path, "", "", unix.MS_REMOUNT|unix.MS_BIND|want); err != nil {
			return false, fmt.Errorf("change the flags of a mount: %w", err)
		}
		changed = true
	}
	if m.Mode != 0 {
		fixed, err := SetMode(path, m.Mode)
		return changed || fixed, err
	}
	return changed, nil
}

// Find returns where m is or will be mounted, whether it is, and its permission flags.
func (m Point) Find(root string) (path string, flags uintptr, mounted bool, err error) {
	if path, mounted, err = Resolve(root, m.Path); err != nil || !mounted {
		return path, 0, false, err
	}
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return path, 0, false, &fs.PathError{Op: "statfs", Path: path, Err: err}
	}
	// The ST_ flags of statfs(2) have the values of their MS_ namesakes.
	return path, uintptr(st.Flags) & permissionFlags, int64(st.Type) == m.Magic, nil
}

// Resolve follows all links in the guest's path, below root, also those that lead to
// nothing yet: a mount point can be made there. It reports whether something is mounted there.
func Resolve(root, path string) (resolved string, mounted bool, err error) {
	resolved = filepath.Join(root, path)
	st, err := stat(resolved)
	if err != nil || st.Mode&unix.S_IFMT != unix.S_IFDIR { // else, the usual case, in one system call
		if resolved, err = securejoin.SecureJoin(root, path); err != nil {
			return "", false, fmt.Errorf("follow the links in %s: %w", path, err)
		}
		st, _ = stat(resolved)
	}
	return resolved, st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0, nil
}

// IsMountPoint reports whether something is mounted on path itself. statx(2) tells
// since Linux 5.8, which is cheaper than reading the table of mounts.
func IsMountPoint(path string) bool {
	st, err := stat(path)
	return err == nil && st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
}

// stat neither follows a link nor asks the server of a share, which may not answer.
func stat(path string) (st unix.Statx_t, err error) {
	err = unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT|unix.AT_STATX_DONT_SYNC, unix.STATX_TYPE|unix.STATX_MODE, &st)
	return st, err
}

// options are the options for the file system itself.
func (m Point) options() string {
	options := m.Data
	if m.Mode != 0 {
		options = strings.TrimPrefix(fmt.Sprintf("%s,mode=%04o", options, m.Mode), ",")
	}
	return options
}

// Create creates m's file system without mounting it (fsopen(2), Linux 5.2). It returns a descriptor of the file system's root.
func (m Point) Create() (fd int, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("create %s %s for %s: %w", m.FSType, m.Device, m.Path, err)
		}
	}()
	context, err := unix.Fsopen(m.FSType, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return 0, ExplainType(m.FSType, err)
	}
	defer unix.Close(context) //nolint:errcheck // nothing is written to it
	for setting := range strings.FieldsFuncSeq("source="+m.Device+","+m.options(), func(c rune) bool { return c == ',' }) {
		if key, value, isString := strings.Cut(setting, "="); isString {
			err = unix.FsconfigSetString(context, key, value)
		} else {
			err = unix.FsconfigSetFlag(context, key)
		}
		if err != nil {
			return 0, fmt.Errorf("option %s: %w", setting, err)
		}
	}
	if err := unix.FsconfigCreate(context); err != nil {
		return 0, err
	}
	// The MOUNT_ATTR_ flags have the values of their MS_ namesakes.
	return unix.Fsmount(context, unix.FSMOUNT_CLOEXEC, int(m.Flags&permissionFlags))
}

// Attach mounts m's file system, which has the root fd.
func (m Point) Attach(root string, fd int) (changed bool, err error) {
	path, _, err := Resolve(root, m.Path)
	if err != nil {
		return false, err
	}
	if err := os.MkdirAll(path, 0o755); err != nil {
		return false, fmt.Errorf("make the mount point: %w", err)
	}
	if err := unix.MoveMount(fd, "", unix.AT_FDCWD, path, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return false, fmt.Errorf("mount on %s: %w", path, err)
	}
	return true, nil
}

// SetMode gives path these permission bits, as in chmod(2), unless it has them.
func SetMode(path string, mode uint32) (changed bool, err error) {
	st, err := stat(path)
	if err == nil && uint32(st.Mode)&0o7777 == mode {
		return false, nil
	}
	if err == nil {
		err = unix.Chmod(path, mode)
	}
	if err != nil {
		return false, &fs.PathError{Op: "chmod", Path: path, Err: err}
	}
	return true, nil
}

// ExplainType names the kernel's configuration symbol where err says that the kernel does not know this type of file system.
func ExplainType(fsType string, err error) error {
	if !errors.Is(err, unix.ENODEV) {
		return err
	}
	symbols := map[string]string{"cgroup2": "CGROUPS", "devpts": "UNIX98_PTYS", "virtiofs": "VIRTIO_FS", "binfmt_misc": "BINFMT_MISC",
		"tmpfs": "TMPFS", "sysfs": "SYSFS", "devtmpfs": "DEVTMPFS", "squashfs": "SQUASHFS"}
	symbol := cmp.Or(symbols[fsType], strings.ToUpper(fsType)+"_FS")
	return fmt.Errorf("the kernel has no %s (CONFIG_%s): %w", fsType, symbol, err)
}
