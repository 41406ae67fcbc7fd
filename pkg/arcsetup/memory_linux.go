package arcsetup

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"unsafe"

	"github.com/arcinit/arcinit/internal/kernelfile"
	"github.com/arcinit/arcinit/pkg/arcsetup/plan"
	"golang.org/x/sys/unix"
)

// zram makes a swap device of compressed memory (Documentation/admin-guide/blockdev/zram.rst).
func (g *Guest) zram() (changed bool, err error) {
	var info unix.Sysinfo_t
	_ = unix.Sysinfo(&info) // cannot fail
	size := info.Totalram * uint64(info.Unit) / 100 * g.Config().Zram &^ uint64(os.Getpagesize()-1)
	if size == 0 {
		return false, plan.Absent(errors.New("not configured"))
	}
	if swaps, err := kernelfile.Read(g.path("/proc/swaps")); err != nil || strings.Contains(swaps, "/dev/zram") {
		return false, err // /proc/swaps is there where the kernel can swap
	}
	if g.HasModules() {
		_, _ = g.loader.Load().Load("zram")
	}
	number, err := kernelfile.Read(g.path("/sys/class/zram-control/hot_add")) // to read this file makes a device, and gives its number
	if err != nil {
		return false, fmt.Errorf("make a zram device (CONFIG_ZRAM): %w", err)
	}
	name := "zram" + number
	if err = kernelfile.Write(g.path("/sys/block/"+name+"/disksize"), fmt.Sprint(size)); err == nil {
		err = swapOn(g.path("/dev/"+name), size)
	}
	if err != nil {
		return false, fmt.Errorf("swap on %s: %w", name, err)
	}
	return true, nil
}

// swapOn makes the device path, of this many bytes, a swap area (union swap_header, include/linux/swap.h) that is used before others.
func swapOn(path string, size uint64) error {
	page := make([]byte, os.Getpagesize())
	binary.NativeEndian.PutUint32(page[1024:], 1)                                // version
	binary.NativeEndian.PutUint32(page[1028:], uint32(size/uint64(len(page))-1)) // the last page
	copy(page[len(page)-10:], "SWAPSPACE2")
	if err := os.WriteFile(path, page, 0); err != nil {
		return err
	}
	const prefer, priority = 0x8000, 100 // SWAP_FLAG_PREFER, and what systemd's zram-generator takes
	name, err := unix.BytePtrFromString(path)
	if _, _, errno := unix.Syscall(unix.SYS_SWAPON, uintptr(unsafe.Pointer(name)), prefer|priority, 0); errno != 0 {
		err = errno
	}
	return err
}
