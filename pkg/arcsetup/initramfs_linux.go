package arcsetup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/arcinit/arcinit/internal/kmod"
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
	return attach(int(i.modules.Fd()), keptInitramfs+"/lib/modules")
}

// free deletes all files but the modules, and closes the initramfs.
func (i *initramfs) free() error {
	var keep unix.Stat_t
	var err error
	if i.modules != nil {
		err = unix.Fstat(int(i.modules.Fd()), &keep)
	}
	if err == nil {
		_, err = deleteBelow(i.dir, keep)
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

// deleteBelow deletes all that it can in dir, except the directory keep and what is
// mounted there. It reports whether dir is empty then.
func deleteBelow(dir *os.File, keep unix.Stat_t) (empty bool, err error) {
	entries, err := dir.ReadDir(-1)
	empty = err == nil
	for _, e := range entries {
		gone, e := deleteEntry(int(dir.Fd()), e, keep)
		empty, err = empty && gone, errors.Join(err, e)
	}
	return empty, err
}

func deleteEntry(parent int, entry fs.DirEntry, keep unix.Stat_t) (gone bool, err error) {
	name, flags := entry.Name(), 0
	if entry.IsDir() {
		fd, err := unix.Openat2(parent, name, &unix.OpenHow{
			Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC,
			Resolve: unix.RESOLVE_NO_XDEV,
		})
		if errors.Is(err, unix.EXDEV) {
			return false, nil // a mount point
		}
		if err != nil {
			return false, fmt.Errorf("open %s: %w", name, err)
		}
		dir := os.NewFile(uintptr(fd), name)
		defer dir.Close() //nolint:errcheck // only read from
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			return false, fmt.Errorf("fstat %s: %w", name, err)
		}
		if st.Dev == keep.Dev && st.Ino == keep.Ino {
			return false, nil
		}
		if empty, err := deleteBelow(dir, keep); err != nil || !empty {
			return false, err
		}
		flags = unix.AT_REMOVEDIR
	}
	if err := unix.Unlinkat(parent, name, flags); err != nil {
		return false, fmt.Errorf("delete %s: %w", name, err)
	}
	return true, nil
}
