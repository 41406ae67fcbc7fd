// Package regular reads and writes regular files where others may have put anything: the share has the files of the
// host, and of containers with a volume on it. It opens no other type of file, reads no more than its caller allows,
// and follows no link below Share; elsewhere it follows the image's links. It must not know what is in the files.
// A share may never answer: the caller brings the time limit, as a step of the plan or a goroutine of its own.
package regular

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"
)

// Share is where the guest has the host's share. A link of the guest may lead to it.
const Share = "/arcbox"

// Read reads the file path below root. A file of more than limit bytes is an error. check, if not nil, may refuse the open file.
func Read(root, path string, limit int64, check func(*os.File) error) (data []byte, err error) {
	err = at("read", root, path, false, func(file string, nofollow int) error {
		f, err := open(file, os.O_RDONLY|nofollow, unix.S_IFREG)
		if err != nil {
			return err
		}
		defer f.Close() //nolint:errcheck // only read from
		if check != nil {
			if err := check(f); err != nil {
				return err
			}
		}
		if data, err = io.ReadAll(io.LimitReader(f, limit+1)); int64(len(data)) > limit {
			data, err = nil, fmt.Errorf("more than %d bytes", limit)
		}
		return err
	})
	return data, err
}

// Write gives the file path below root this data and mode, unless the file has them. A new file takes the place of the old one, or of a link there,
// so a reader sees all of the old data or all of the new. Write makes missing directories, and the umask does not change the mode.
func Write(root, path string, data []byte, mode fs.FileMode) (changed bool, err error) {
	err = at("write", root, path, true, func(file string, nofollow int) error {
		st, err := os.Lstat(file)
		if err == nil && st.IsDir() {
			return unix.EISDIR
		}
		if err == nil && st.Mode() == mode {
			if old, err := Read("/", file, int64(len(data)), nil); err == nil && string(old) == string(data) {
				return nil
			}
		}
		if changed = errors.Is(err, fs.ErrNotExist) && nofollow == 0 && create(file, data, mode); changed {
			return nil
		}
		// renameio.WriteFile would keep the permissions of an existing file.
		f, err := renameio.NewPendingFile(file, renameio.WithTempDir(filepath.Dir(file)), renameio.WithStaticPermissions(mode))
		if err != nil {
			return err
		}
		defer f.Cleanup() //nolint:errcheck // removes the temporary file after an error
		if _, err = f.Write(data); err == nil {
			err = f.CloseAtomicallyReplace()
		}
		changed = err == nil
		return err
	})
	return changed, err
}

// create makes a new file, which has all its data when it appears, in a third of the system calls that renameio makes.
// It fails where the file system cannot make files without a name (O_TMPFILE, open(2)), and where renameio would, too.
func create(file string, data []byte, mode fs.FileMode) (ok bool) {
	fd, err := unix.Open(filepath.Dir(file), unix.O_TMPFILE|unix.O_WRONLY|unix.O_CLOEXEC, uint32(mode))
	if err == nil {
		n, _ := unix.Write(fd, data)
		own := fmt.Sprintf("/proc/self/fd/%d", fd)
		ok = n == len(data) && unix.Fchmod(fd, uint32(mode)) == nil && unix.Linkat(unix.AT_FDCWD, own, unix.AT_FDCWD, file, unix.AT_SYMLINK_FOLLOW) == nil
		_ = unix.Close(fd)
	}
	return ok
}

// Append appends data to the file path below root, and makes it and its directories if they are missing. What has no
// room for data below limit, or is no regular file, becomes path.1 before that. If it cannot, Append goes on with it.
func Append(root, path string, data []byte, limit int64) error {
	return at("append to", root, path, true, func(file string, _ int) (errKeep error) {
		if st, err := os.Lstat(file); err == nil && (!st.Mode().IsRegular() || st.Size()+int64(len(data)) > limit) {
			if err := unix.Rename(file, file+".1"); err != nil {
				errKeep = errors.New("cannot rename it to " + filepath.Base(file) + ".1: " + err.Error())
			}
		}
		f, err := open(file, os.O_WRONLY|os.O_APPEND|unix.O_NOFOLLOW, unix.S_IFREG)
		if errors.Is(err, fs.ErrNotExist) {
			f, err = os.OpenFile(file, os.O_WRONLY|os.O_APPEND|os.O_CREATE|os.O_EXCL, 0o644)
		}
		if err == nil {
			_, err = f.Write(data)
			err = errors.Join(err, f.Close())
		}
		return errors.Join(errKeep, err)
	})
}

// at calls f with a name for the file path: on the share one that starts at the open directory, so that nobody can
// put a link in the directory's place. There, nofollow is O_NOFOLLOW. Errors have the path instead of that name.
func at(op, root, path string, makeDir bool, f func(file string, nofollow int) error) (err error) {
	file := filepath.Join(root, path)
	inner, shared := strings.CutPrefix(filepath.Clean(path), Share+"/")
	if shared {
		err = below(filepath.Join(root, Share), 0, inner, makeDir, f)
	} else if err = f(file, 0); makeDir && errors.Is(err, fs.ErrNotExist) {
		if err = os.MkdirAll(filepath.Dir(file), 0o755); err == nil {
			err = f(file, 0)
		}
	}
	if number := syscall.Errno(0); errors.As(err, &number) {
		err = number
	}
	if err != nil {
		err = &fs.PathError{Op: op, Path: file, Err: err}
	}
	return err
}

// below is at for a path below the directory dir.
func below(dir string, nofollow int, path string, makeDir bool, f func(file string, nofollow int) error) error {
	d, err := open(dir, unix.O_PATH|nofollow, unix.S_IFDIR)
	if err != nil {
		return err
	}
	defer d.Close() //nolint:errcheck // only looked up in
	name, rest, more := strings.Cut(path, "/")
	name = fmt.Sprintf("/proc/self/fd/%d/%s", d.Fd(), name)
	if !more {
		return f(name, unix.O_NOFOLLOW)
	}
	if makeDir {
		if err := os.Mkdir(name, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return below(name, unix.O_NOFOLLOW, rest, makeDir, f)
}

// open opens a file of this type. It finds out the type by O_PATH first, because to open a device calls its driver.
func open(file string, flags int, want uint32) (*os.File, error) {
	found, err := unix.Open(file, unix.O_PATH|unix.O_CLOEXEC|flags&unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(found) //nolint:errcheck // opened again
	var st unix.Stat_t
	if err := unix.Fstat(found, &st); err != nil {
		return nil, err
	}
	if got := st.Mode & unix.S_IFMT; got != want {
		types := map[uint32]string{unix.S_IFREG: "a regular file", unix.S_IFDIR: "a directory", unix.S_IFLNK: "a symbolic link",
			unix.S_IFIFO: "a FIFO", unix.S_IFSOCK: "a socket"}
		return nil, fmt.Errorf("%s is %s, not %s", filepath.Base(file), cmp.Or(types[got], "a device"), types[want])
	}
	return os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", found), flags&^unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
}
