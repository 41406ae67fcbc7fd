package disks

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ScanBtrfs tells the kernel which devices have a part of a btrfs, as udev's rules do. The error is ErrNotThere while
// parts of the one that begins on the device path are missing. The requests and their argument are in include/uapi/linux/btrfs.h.
func ScanBtrfs(root, path string) error {
	const (
		scanDevice   = 0x50009404 // BTRFS_IOC_SCAN_DEV
		devicesReady = 0x90009427 // BTRFS_IOC_DEVICES_READY: 0 if all are there
	)
	control, err := os.OpenFile(filepath.Join(root, "/dev/btrfs-control"), os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // mount(2) says why
	}
	if err != nil {
		return err
	}
	defer control.Close() //nolint:errcheck // nothing is written to it
	ask := func(request uintptr, path string) (answer uintptr, err error) {
		var arg struct { // btrfs_ioctl_vol_args
			_    int64
			name [4088]byte
		}
		copy(arg.name[:len(arg.name)-1], path)
		answer, _, errno := unix.Syscall(unix.SYS_IOCTL, control.Fd(), request, uintptr(unsafe.Pointer(&arg)))
		if errno != 0 {
			err = fmt.Errorf("scan %s for btrfs: %w", path, errno)
		}
		return answer, err
	}
	for _, d := range devices(root) {
		if slices.Contains(d.facts, "btrfs") {
			if _, err := ask(scanDevice, d.path()); err != nil {
				return err
			}
		}
	}
	missing, err := ask(devicesReady, path)
	if err == nil && missing != 0 {
		err = fmt.Errorf("%w: other devices of the btrfs on %s", ErrNotThere, path)
	}
	return err
}
