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
func (g *Guest) run() (bool, error) {
	changed, err := g.mount(tmpfs("/run", 0o755))
	bound, errBind := g.bindProgram()
	return changed || bound, errors.Join(err, errBind)
}

// bindProgram mounts the program on ProgramPath. Unlike a link, a mount goes on
// when the file is deleted with the initramfs; and u-root's busybox, which
// resolves links to tell its commands apart, sees the name.
func (g *Guest) bindProgram() (changed bool, err error) {
	path := g.path(ProgramPath)
	program, err := os.Stat(g.Program)
	if err != nil {
		return false, fmt.Errorf("find this program: %w", err)
	}
	if there, err := os.Stat(path); err == nil && os.SameFile(there, program) {
		return false, nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return false, err
	}
	f, err := os.OpenFile(path, os.O_RDONLY|os.O_CREATE, 0o755)
	if err != nil {
		return false, err
	}
	if err := f.Close(); err != nil {
		return false, err
	}
	if err := unix.Mount(g.Program, path, "", unix.MS_BIND, ""); err != nil {
		return false, fmt.Errorf("bind %s to %s: %w", g.Program, path, err)
	}
	return true, nil
}

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
	if _, mounted, err := m.mounted(g.Root); err == nil && mounted {
		return g.mount(m)
	}
	fd, err := m.detached()
	if err != nil {
		return false, err
	}
	defer unix.Close(fd) //nolint:errcheck // attached by now, or of no use
	// A file that cannot be copied is reported; a writable /etc without it
	// is still better than a read-only one.
	errCopy := copyTree(g.path(m.path), g.path(fmt.Sprintf("/proc/self/fd/%d", fd)))
	err = attach(fd, g.path(m.path))
	return err == nil, errors.Join(errCopy, err)
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
