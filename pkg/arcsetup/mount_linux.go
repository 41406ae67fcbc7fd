package arcsetup

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/u-root/u-root/pkg/mount"
	"golang.org/x/sys/unix"
)

// mountPoint is a mount that the guest needs.
type mountPoint struct {
	device, path, fsType, data string
	flags                      uintptr
	// magic is the file system's type in statfs(2), which tells an existing mount
	// of it.
	magic int64
	// mode is the permission of a tmpfs's root; zero is the kernel's default.
	mode os.FileMode
}

const permissionFlags = unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC

// mount mounts m, unless it is mounted. An existing mount, such as one by u-root's
// init, gets m's permission flags and mode.
func (g *Guest) mount(m mountPoint) (changed bool, err error) {
	path, flags, mounted, err := g.find(m)
	if err != nil {
		return false, err
	}
	if !mounted {
		makeDir := func() error { return os.MkdirAll(path, 0o755) }
		_, err := mount.Mount(m.device, path, m.fsType, m.options(), m.flags, makeDir)
		return err == nil, explainType(m.fsType, err)
	}
	if want := m.flags & permissionFlags; flags != want {
		if _, err := mount.Mount("", path, "", "", unix.MS_REMOUNT|unix.MS_BIND|want); err != nil {
			return false, fmt.Errorf("change the flags of a mount: %w", err)
		}
		changed = true
	}
	if m.mode != 0 {
		fixed, err := setMode(path, m.mode)
		return changed || fixed, err
	}
	return changed, nil
}

// createAndMount creates m's file system before its mount point. It is for file
// systems that the host or the kernel may not offer, where a mount point would be
// of no use and a read-only root may lack it.
func (g *Guest) createAndMount(m mountPoint) (changed bool, err error) {
	path, _, mounted, err := g.find(m)
	if err != nil || mounted {
		return false, err
	}
	fd, err := m.create()
	if err != nil {
		return false, err
	}
	defer unix.Close(fd) //nolint:errcheck // the mount stays
	if err := attach(fd, path); err != nil {
		return false, fmt.Errorf("%s %s: %w", m.fsType, m.device, err)
	}
	return true, nil
}

// find returns where m is or will be mounted, whether it is, and its permission
// flags.
func (g *Guest) find(m mountPoint) (path string, flags uintptr, mounted bool, err error) {
	if path, err = g.resolve(m.path); err != nil || !isMountPoint(path) {
		return path, 0, false, err
	}
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return path, 0, false, &fs.PathError{Op: "statfs", Path: path, Err: err}
	}
	// The ST_ flags of statfs(2) have the values of their MS_ namesakes.
	return path, uintptr(st.Flags) & permissionFlags, int64(st.Type) == m.magic, nil
}

// maxLinks is how many links in one path the kernel follows (MAXSYMLINKS,
// linux/namei.h).
const maxLinks = 40

// resolve follows all links in the guest's path, also those that lead to nothing
// yet. So a mount is made and looked for in one place, and its mount point can be
// made there.
func (g *Guest) resolve(path string) (string, error) {
	if st, err := os.Lstat(g.path(path)); err == nil && st.IsDir() {
		return g.path(path), nil
	}
	resolved, links := "/", 0
	for rest := strings.Split(path, "/"); len(rest) > 0; {
		next := filepath.Join(resolved, rest[0])
		rest = rest[1:]
		target, err := os.Readlink(g.path(next))
		if err != nil {
			resolved = next // not a link
			continue
		}
		if links++; links > maxLinks {
			return "", &fs.PathError{Op: "follow links", Path: path, Err: unix.ELOOP}
		}
		if filepath.IsAbs(target) {
			resolved = "/"
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return g.path(resolved), nil
}

// isMountPoint reports whether something is mounted on path itself. statx(2) tells
// since Linux 5.8, which is cheaper than reading the table of mounts.
func isMountPoint(path string) bool {
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, 0, &st)
	return err == nil && st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
}

// options are the options of the file system itself.
func (m mountPoint) options() string {
	if m.mode == 0 {
		return m.data
	}
	mode := uint32(m.mode.Perm())
	if m.mode&os.ModeSticky != 0 {
		mode |= unix.S_ISVTX
	}
	return fmt.Sprintf("mode=%04o", mode)
}

// create creates m's file system without mounting it (fsopen(2), Linux 5.2). It
// returns a descriptor of the file system's root.
func (m mountPoint) create() (fd int, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("create %s %s for %s: %w", m.fsType, m.device, m.path, err)
		}
	}()
	context, err := unix.Fsopen(m.fsType, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return 0, explainType(m.fsType, err)
	}
	defer unix.Close(context) //nolint:errcheck // nothing is written to it
	settings := "source=" + m.device
	if options := m.options(); options != "" {
		settings += "," + options
	}
	for setting := range strings.SplitSeq(settings, ",") {
		key, value, _ := strings.Cut(setting, "=")
		if err := unix.FsconfigSetString(context, key, value); err != nil {
			return 0, fmt.Errorf("option %s: %w", setting, err)
		}
	}
	if err := unix.FsconfigCreate(context); err != nil {
		return 0, err
	}
	// The MOUNT_ATTR_ flags have the values of their MS_ namesakes.
	return unix.Fsmount(context, unix.FSMOUNT_CLOEXEC, int(m.flags&permissionFlags))
}

// attach mounts the file system with the root fd on path.
func attach(fd int, path string) error {
	if err := os.MkdirAll(path, 0o755); err != nil {
		return fmt.Errorf("make the mount point: %w", err)
	}
	if err := unix.MoveMount(fd, "", unix.AT_FDCWD, path, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("mount on %s: %w", path, err)
	}
	return nil
}

// setMode gives path these permission bits, unless it has them.
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

// explainType names the kernel's configuration symbol where err says that the
// kernel does not know this type of file system.
func explainType(fsType string, err error) error {
	if !errors.Is(err, unix.ENODEV) {
		return err
	}
	symbols := map[string]string{"cgroup2": "CGROUPS", "proc": "PROC_FS", "devpts": "UNIX98_PTYS", "virtiofs": "VIRTIO_FS"}
	return fmt.Errorf("the kernel has no %s (CONFIG_%s): %w", fsType, cmp.Or(symbols[fsType], strings.ToUpper(fsType)), err)
}
