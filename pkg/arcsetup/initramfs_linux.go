package arcsetup

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/arcinit/arcinit/internal/kmod"
	"github.com/arcinit/arcinit/internal/mounts"
	"github.com/u-root/u-root/pkg/mount"
	"golang.org/x/sys/unix"
)

// keptInitramfs is where the initramfs is while another root takes its place. Its
// modules stay there if the new root has none for this kernel.
const keptInitramfs = "/run/arcbox/initramfs"

// keepInitramfs mounts the initramfs, without what is mounted below it, on
// keptInitramfs.
func keepInitramfs() error {
	if err := os.MkdirAll(keptInitramfs, 0o755); err != nil {
		return err
	}
	_, err := mount.Mount("/", keptInitramfs, "", "", unix.MS_BIND)
	return err
}

// freeInitramfs deletes the files of the initramfs, which use memory until then,
// except modules that the new root needs.
func freeInitramfs() error {
	var keep os.FileInfo
	if _, err := kmod.Open("/", "/sys"); err != nil {
		keep, err = os.Stat(keptInitramfs + "/lib/modules")
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	err := deleteBelow(keptInitramfs, keep)
	if keep == nil {
		err = errors.Join(err, dropInitramfs())
	}
	return err
}

// dropInitramfs unmounts the initramfs from keptInitramfs.
func dropInitramfs() error {
	return errors.Join(mount.Unmount(keptInitramfs, false, true), os.Remove(keptInitramfs))
}

// deleteBelow deletes all that it can in the directory dir, except the directory
// keep and what is mounted there.
func deleteBelow(dir string, keep os.FileInfo) error {
	var found []string
	var errs []error
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			errs = append(errs, err)
		case path == dir:
		case d.IsDir() && (mounts.IsMountPoint(path) || isFile(d, keep)):
			return fs.SkipDir
		default:
			found = append(found, path)
		}
		return nil
	})
	for _, path := range slices.Backward(found) {
		// A directory is not empty if it leads to something that stays.
		if err := os.Remove(path); !errors.Is(err, unix.ENOTEMPTY) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func isFile(d fs.DirEntry, file os.FileInfo) bool {
	info, err := d.Info()
	return err == nil && os.SameFile(info, file)
}
