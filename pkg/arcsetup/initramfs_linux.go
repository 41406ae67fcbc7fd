package arcsetup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/arcinit/arcinit/internal/kmod"
	"github.com/arcinit/arcinit/internal/mounts"
	"golang.org/x/sys/unix"
)

// initramfs is the root that the kernel unpacked, kept open while another root
// takes its place. Its files use memory until they are deleted.
type initramfs struct {
	dir *os.File
	// modules is a mount of its /lib/modules, not attached anywhere; nil without
	// modules.
	modules *os.File
}

// openInitramfs opens the initramfs while it is /.
func openInitramfs() (*initramfs, error) {
	dir, err := os.Open("/")
	if err != nil {
		return nil, err
	}
	const path = "/lib/modules"
	fd, err := unix.OpenTree(unix.AT_FDCWD, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if errors.Is(err, fs.ErrNotExist) {
		return &initramfs{dir: dir}, nil
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open_tree %s: %w", path, err), dir.Close())
	}
	return &initramfs{dir, os.NewFile(uintptr(fd), path)}, nil
}

// keepModules mounts the modules in keptInitramfs if the new root, which is / now,
// has none for this kernel.
func (i *initramfs) keepModules() error {
	if i.modules == nil {
		return nil
	}
	if _, err := kmod.Open("/", "/sys"); err == nil {
		unneeded := i.modules
		i.modules = nil
		return unneeded.Close()
	}
	return mounts.Attach(int(i.modules.Fd()), keptInitramfs+"/lib/modules")
}

// free deletes all files but the modules, and closes the initramfs.
func (i *initramfs) free() error {
	var keep os.FileInfo
	var err error
	if i.modules != nil {
		keep, err = i.modules.Stat()
	}
	if err == nil {
		_, err = deleteBelow(fmt.Sprintf("/proc/self/fd/%d", i.dir.Fd()), keep)
	}
	return errors.Join(err, i.close())
}

func (i *initramfs) close() error {
	err := i.dir.Close()
	if i.modules != nil {
		err = errors.Join(err, i.modules.Close())
	}
	return err
}

// deleteBelow deletes all that it can in the directory dir, except the directory
// keep and what is mounted there. It reports whether dir is empty then.
func deleteBelow(dir string, keep os.FileInfo) (empty bool, err error) {
	entries, err := os.ReadDir(dir)
	empty = err == nil
	for _, e := range entries {
		gone, e := deleteEntry(filepath.Join(dir, e.Name()), e.IsDir(), keep)
		empty, err = empty && gone, errors.Join(err, e)
	}
	return empty, err
}

func deleteEntry(path string, isDir bool, keep os.FileInfo) (gone bool, err error) {
	if isDir {
		if st, err := os.Lstat(path); err != nil || os.SameFile(st, keep) || mounts.IsMountPoint(path) {
			return false, err
		}
		if empty, err := deleteBelow(path, keep); err != nil || !empty {
			return false, err
		}
	}
	err = os.Remove(path)
	return err == nil, err
}
