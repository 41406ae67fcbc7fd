package arcsetup

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

func tmpfs(path string, mode os.FileMode) mountPoint {
	return mountPoint{
		device: "tmpfs", path: path, fsType: "tmpfs", magic: unix.TMPFS_MAGIC,
		flags: unix.MS_NOSUID | unix.MS_NODEV, mode: mode,
	}
}

// run is apart from the other layers because they, and the daemons, need it.
func (g *Guest) run() (bool, error) { return g.mount(tmpfs("/run", 0o755)) }

func (g *Guest) layers() (bool, error) {
	changed, err := g.mountAll([]mountPoint{
		tmpfs("/tmp", 0o777|os.ModeSticky),
		tmpfs("/var", 0o755),
	})
	etc, errEtc := g.etc()
	return changed || etc, errors.Join(err, errEtc)
}

// etc covers /etc with a tmpfs that holds what the image has there: Debian's
// iptables, for one, is found through a link in /etc/alternatives. The copy is
// made before the tmpfs is attached, so that /etc is never seen without it.
func (g *Guest) etc() (changed bool, err error) {
	m := tmpfs("/etc", 0o755)
	m.path = g.path(m.path)
	if _, mounted, err := m.mounted(); err == nil && mounted {
		return g.mount(tmpfs("/etc", 0o755))
	}
	if err := os.MkdirAll(m.path, 0o755); err != nil {
		return false, err
	}
	fd, err := m.detached()
	if err != nil {
		return false, err
	}
	defer unix.Close(fd) //nolint:errcheck // attached by now, or of no use
	// A file that cannot be copied is reported; a writable /etc without it
	// is still better than a read-only one.
	err = copyTree(m.path, g.path(fmt.Sprintf("/proc/self/fd/%d", fd)))
	if e := unix.MoveMount(fd, "", unix.AT_FDCWD, m.path, unix.MOVE_MOUNT_F_EMPTY_PATH); e != nil {
		return false, errors.Join(err, fmt.Errorf("attach the tmpfs to /etc: %w", e))
	}
	return true, err
}

// detached makes the file system of m, a tmpfs for regular files, without
// mounting it anywhere (fsopen(2), Linux 5.2), and returns a descriptor of its
// root.
func (m mountPoint) detached() (fd int, err error) {
	context, err := unix.Fsopen(m.fsType, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return 0, fmt.Errorf("fsopen %s: %w", m.fsType, err)
	}
	defer unix.Close(context) //nolint:errcheck // its mount holds what matters
	if err := unix.FsconfigSetString(context, "mode", fmt.Sprintf("%04o", unixMode(m.mode))); err != nil {
		return 0, fmt.Errorf("mode of the %s for %s: %w", m.fsType, m.path, err)
	}
	if err := unix.FsconfigCreate(context); err != nil {
		return 0, fmt.Errorf("create the %s for %s: %w", m.fsType, m.path, err)
	}
	fd, err = unix.Fsmount(context, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOSUID)
	if err != nil {
		return 0, fmt.Errorf("mount the %s for %s: %w", m.fsType, m.path, err)
	}
	return fd, nil
}

// copyTree copies what is below from, with modes, owners and links, to the
// directory to. It copies all it can; a from that is not there is empty.
func copyTree(from, to string) error {
	if _, err := os.Lstat(from); err != nil {
		return ignoreMissing(err)
	}
	var errs []error
	note := func(path string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("copy %s: %w", path, err))
		}
	}
	note(from, filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err == nil && path != from {
			err = copyEntry(path, filepath.Join(to, strings.TrimPrefix(path, from)), d)
		}
		note(path, err)
		if err != nil && d.IsDir() {
			return fs.SkipDir
		}
		return nil
	}))
	return errors.Join(errs...)
}

func copyEntry(from, to string, d fs.DirEntry) error {
	info, err := d.Info()
	if err != nil {
		return err
	}
	switch info.Mode().Type() {
	case fs.ModeDir:
		err = os.Mkdir(to, 0o755)
	case fs.ModeSymlink:
		var target string
		if target, err = os.Readlink(from); err == nil {
			err = os.Symlink(target, to)
		}
	case 0:
		err = copyFile(from, to)
	default:
		err = fmt.Errorf("a %s is not copied", info.Mode().Type())
	}
	if err != nil {
		return err
	}
	st := info.Sys().(*syscall.Stat_t)
	if err := os.Lchown(to, int(st.Uid), int(st.Gid)); err != nil {
		return err
	}
	if info.Mode().Type() == fs.ModeSymlink {
		return nil
	}
	return os.Chmod(to, info.Mode())
}

func copyFile(from, to string) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close() //nolint:errcheck // only read from
	dst, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(dst, src)
	return errors.Join(err, dst.Close())
}

// jailer is where Firecracker's jailer makes the device node of its root disk,
// which /var, like every layer, would not let it open.
func (g *Guest) jailer() (bool, error) {
	m := tmpfs("/var/lib/arcbox/jailer", 0o700)
	m.flags = unix.MS_NOSUID
	return g.mount(m)
}

// directories makes what containerd and dockerd look for. /run/docker is
// /var/run/docker by the link.
func (g *Guest) directories() (changed bool, err error) {
	if st, e := os.Lstat(g.path("/var/run")); e != nil || !st.IsDir() {
		changed, err = g.symlink("/run", "/var/run")
	}
	for _, dir := range []string{"/var/lib/docker", "/var/run/docker", "/run/containerd"} {
		c, e := g.mkdir(dir)
		changed, err = changed || c, errors.Join(err, e)
	}
	return changed, err
}
