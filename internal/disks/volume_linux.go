package disks

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
	"unsafe"

	"github.com/arcinit/arcinit/internal/blockdev"
	"golang.org/x/sys/unix"
)

// IsBlank reports whether a device holds nothing but zeros; of more than 4 GiB it reads the first and the last 2 GiB, where all known marks are.
func IsBlank(root, path string) (zero bool, err error) {
	const edge = 2 << 30
	f, err := open(root, path)
	if err != nil {
		return false, err
	}
	defer f.Close() //nolint:errcheck // only read from
	size, err := f.Seek(0, io.SeekEnd)
	if err == nil {
		zero, err = blockdev.IsZero(f, 0, edge)
	}
	if zero && err == nil && size > edge {
		zero, err = blockdev.IsZero(f, max(size-edge, edge), edge)
	}
	return zero, err
}

// Grow grows the file system that is mounted on dir, and has this superblock, to the size of its device.
func Grow(dir string, s blockdev.Superblock) (err error) {
	if s.Device-s.Size < 1<<20 {
		return nil // what is left over need not be a whole block or group
	}
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return err
	}
	blocks := uint64(s.Device / st.Bsize)
	switch s.Type {
	case "ext4": // EXT4_IOC_RESIZE_FS (include/uapi/linux/ext4.h)
		_, err = control(dir, 0x40086610, unsafe.Pointer(&blocks))
	case "xfs": // XFS_IOC_FSGROWFSDATA with struct xfs_growfs_data (fs/xfs/libxfs/xfs_fs.h)
		_, err = control(dir, 0x4010586e, unsafe.Pointer(&struct {
			blocks      uint64
			maxInodePct uint32
		}{blocks, uint32(s.Detail)}))
	case "btrfs": // BTRFS_IOC_RESIZE (include/uapi/linux/btrfs.h)
		_, err = control(dir, 0x50009403, btrfsArg(fmt.Sprintf("%d:max", s.Detail)))
	default:
		err = errors.ErrUnsupported
	}
	if err != nil {
		err = fmt.Errorf("grow the %s to %d bytes: %w", s.Type, s.Device, err)
	}
	return err
}

// Trim gives unused blocks of the file system on dir back to the host (FITRIM, include/uapi/linux/fs.h) until left is over, if it can.
func Trim(dir string, left func() time.Duration) error {
	const piece = 4 << 30
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return err
	}
	for start := uint64(0); start < st.Blocks*uint64(st.Bsize) && left() > 0; start += piece {
		piece := struct{ start, length, minLength uint64 }{start, piece, 0}
		switch _, err := control(dir, 0xc0185879, unsafe.Pointer(&piece)); {
		case errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOTTY):
			return nil
		case err != nil:
			return fmt.Errorf("trim %s at %d: %w", dir, start, err)
		}
	}
	return nil
}

// control makes a request (ioctl(2)) to a device, or to the file system on a directory.
func control(path string, request uintptr, arg unsafe.Pointer) (answer uintptr, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close() //nolint:errcheck // only read from
	answer, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), request, uintptr(arg))
	if errno != 0 {
		err = errno
	}
	return answer, err
}

// btrfsArg is the argument of btrfs's requests, struct btrfs_ioctl_vol_args.
func btrfsArg(name string) unsafe.Pointer {
	var arg struct {
		_    int64
		name [4088]byte
	}
	copy(arg.name[:len(arg.name)-1], name)
	return unsafe.Pointer(&arg)
}

// ScanBtrfs tells the kernel which devices have a part of a btrfs, as udev's rules do. The error is ErrNotThere while parts of the
// one that begins on the device path are missing. The requests are in include/uapi/linux/btrfs.h.
func ScanBtrfs(root, path string) error {
	const (
		scanDevice   = 0x50009404 // BTRFS_IOC_SCAN_DEV
		devicesReady = 0x90009427 // BTRFS_IOC_DEVICES_READY: 0 if all are there
	)
	device := filepath.Join(root, "/dev/btrfs-control")
	for _, d := range devices(root) {
		if slices.Contains(d.facts, "btrfs") {
			if _, err := control(device, scanDevice, btrfsArg(d.path())); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("scan %s for btrfs: %w", d.path(), err)
			}
		}
	}
	missing, err := control(device, devicesReady, btrfsArg(path))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // mount(2) says why
	}
	if err == nil && missing != 0 {
		err = fmt.Errorf("%w: other devices of the btrfs on %s", ErrNotThere, path)
	}
	return err
}
