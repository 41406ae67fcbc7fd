// Package disks finds block devices by what is on them. It must not mount any.
package disks

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/arcinit/arcinit/internal/blockdev"
	"golang.org/x/sys/unix"
)

// ErrNotThere is the error of a device that may appear later.
var ErrNotThere = errors.New("not there")

// blockDevice is a disk or a partition, and what identifies it.
type blockDevice struct {
	name      string // in /sys/class/block
	bytes     uint64
	content   blockdev.Superblock
	partition blockdev.Partition
	err       error // of reading content or partition
}

// path returns the device's node. A slash in its name is an exclamation mark in /sys.
func (d blockDevice) path() string { return "/dev/" + strings.ReplaceAll(d.name, "!", "/") }

func (d blockDevice) String() string {
	s := fmt.Sprintf("%s (%.1f MiB", d.name, float64(d.bytes)/(1<<20))
	for _, part := range [][2]string{
		{"", d.content.Type}, {"LABEL=", d.content.Label}, {"UUID=", d.content.UUID},
		{"PARTLABEL=", d.partition.Label}, {"PARTUUID=", d.partition.UUID},
	} {
		if part[1] != "" {
			s += ", " + part[0] + part[1]
		}
	}
	if d.err != nil {
		s += ", " + d.err.Error()
	}
	return s + ")"
}

// Find returns the path of the first block device with this name, as in root= on the
// kernel command line: in a form that the kernel knows (block/early-lookup.c), or by
// the file system's UUID or LABEL, which the kernel leaves to an initramfs. /sys and
// /dev are below the directory root. The error is ErrNotThere if the device may
// appear later.
func Find(root, device string) (path string, err error) {
	if strings.HasPrefix(device, "/dev/") {
		if _, err := os.Stat(filepath.Join(root, device)); errors.Is(err, fs.ErrNotExist) {
			return "", ErrNotThere
		}
		return device, nil
	}
	tag, want, _ := strings.Cut(device, "=")
	var is func(blockDevice) bool
	switch tag {
	case "LABEL":
		is = func(d blockDevice) bool { return d.content.Label == want }
	case "UUID":
		is = func(d blockDevice) bool { return strings.EqualFold(d.content.UUID, want) }
	case "PARTLABEL":
		is = func(d blockDevice) bool { return d.partition.Label == want }
	case "PARTUUID":
		is = func(d blockDevice) bool { return strings.EqualFold(d.partition.UUID, want) }
	}
	if is == nil || want == "" {
		return "", errors.New("not /dev/NAME, PARTUUID=, PARTLABEL=, UUID= or LABEL=, nor a tag with rootfstype=virtiofs")
	}
	for _, d := range devices(root) {
		if is(d) {
			return d.path(), nil
		}
	}
	return "", ErrNotThere
}

// Describe lists the block devices for an error or a log line.
func Describe(root string) string {
	var all []string
	for _, d := range devices(root) {
		all = append(all, d.String())
	}
	if all == nil {
		return "there is no block device"
	}
	return "block devices are " + strings.Join(all, ", ")
}

// devices returns the devices that have a medium, sorted by name.
func devices(root string) []blockDevice {
	links, _ := filepath.Glob(filepath.Join(root, "/sys/class/block/*"))
	tables := map[string]blockdev.Table{} // by disk
	var found []blockDevice
	for _, link := range links {
		d := blockDevice{name: filepath.Base(link)}
		// Always in sectors of 512 bytes (Documentation/ABI/stable/sysfs-block).
		if d.bytes = readNumber(link+"/size") * 512; d.bytes == 0 {
			continue
		}
		d.content, d.err = ReadSuperblock(root, d.path())
		if number := readNumber(link + "/partition"); number > 0 {
			// A partition's directory is in the directory of its disk.
			dir, err := filepath.EvalSymlinks(link)
			d.err = errors.Join(d.err, err)
			disk := filepath.Dir(dir)
			if _, ok := tables[disk]; !ok {
				tables[disk], err = readTable(root, disk)
				d.err = errors.Join(d.err, err)
			}
			d.partition = tables[disk].Partition(int(number))
		}
		found = append(found, d)
	}
	return found
}

// ReadSuperblock reads the superblock of the device with this path. The error is
// ErrNotThere if the device may appear later.
func ReadSuperblock(root, path string) (blockdev.Superblock, error) {
	f, err := open(root, path)
	if err != nil {
		return blockdev.Superblock{}, err
	}
	defer f.Close() //nolint:errcheck // only read from
	s, err := blockdev.ReadSuperblock(f)
	if err != nil {
		return s, fmt.Errorf("superblock of %s: %w", path, err)
	}
	return s, nil
}

// readTable reads the partition table of the disk with this directory in /sys.
func readTable(root, dir string) (blockdev.Table, error) {
	disk := blockDevice{name: filepath.Base(dir)}
	f, err := open(root, disk.path())
	if err != nil {
		return blockdev.Table{}, err
	}
	defer f.Close() //nolint:errcheck // only read from
	return blockdev.ReadTable(f, int(readNumber(dir+"/queue/logical_block_size")))
}

// open opens a device for reading, without waiting for a medium.
func open(root, path string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(root, path), os.O_RDONLY|unix.O_NONBLOCK, 0)
	if errors.Is(err, unix.ENXIO) || errors.Is(err, fs.ErrNotExist) {
		// The node is made before the disk is ready, and deleted before it is gone.
		err = fmt.Errorf("%w: %w", ErrNotThere, err)
	}
	return f, err
}

// readNumber reads the number in a file of /sys; zero without one.
func readNumber(path string) uint64 {
	text, _ := os.ReadFile(path)
	n, _ := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 54)
	return n
}
