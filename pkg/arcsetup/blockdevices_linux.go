package arcsetup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/arcinit/arcinit/internal/blockdev"
	"golang.org/x/sys/unix"
)

// errNotThere is the error of a root that may appear later.
var errNotThere = errors.New("not there")

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

// findBlockDevice returns the path of the first device that root= names: in a form
// that the kernel knows (block/early-lookup.c), or by the file system's UUID or
// LABEL, which the kernel leaves to an initramfs.
func (g *Guest) findBlockDevice(root string) (path string, err error) {
	if strings.HasPrefix(root, "/dev/") {
		if _, err := os.Stat(g.path(root)); errors.Is(err, fs.ErrNotExist) {
			return "", errNotThere
		}
		return root, nil
	}
	tag, want, _ := strings.Cut(root, "=")
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
	for _, d := range g.blockDevices() {
		if is(d) {
			return d.path(), nil
		}
	}
	return "", errNotThere
}

// describeBlockDevices lists the block devices for an error or a log line.
func (g *Guest) describeBlockDevices() string {
	var all []string
	for _, d := range g.blockDevices() {
		all = append(all, d.String())
	}
	if all == nil {
		return "there is no block device"
	}
	return "block devices are " + strings.Join(all, ", ")
}

// blockDevices returns the devices that have a medium, sorted by name.
func (g *Guest) blockDevices() []blockDevice {
	links, _ := filepath.Glob(g.path("/sys/class/block/*"))
	tables := map[string]blockdev.Table{} // by disk
	var devices []blockDevice
	for _, link := range links {
		d := blockDevice{name: filepath.Base(link)}
		// Always in sectors of 512 bytes (Documentation/ABI/stable/sysfs-block).
		if d.bytes = readNumber(link+"/size") * 512; d.bytes == 0 {
			continue
		}
		d.content, d.err = g.readSuperblock(d.path())
		if number := readNumber(link + "/partition"); number > 0 {
			// A partition's directory is in the directory of its disk.
			dir, err := filepath.EvalSymlinks(link)
			d.err = errors.Join(d.err, err)
			disk := filepath.Dir(dir)
			if _, ok := tables[disk]; !ok {
				tables[disk], err = g.readTable(disk)
				d.err = errors.Join(d.err, err)
			}
			d.partition = tables[disk].Partition(int(number))
		}
		devices = append(devices, d)
	}
	return devices
}

func (g *Guest) readSuperblock(path string) (blockdev.Superblock, error) {
	f, err := g.openDevice(path)
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
func (g *Guest) readTable(dir string) (blockdev.Table, error) {
	disk := blockDevice{name: filepath.Base(dir)}
	f, err := g.openDevice(disk.path())
	if err != nil {
		return blockdev.Table{}, err
	}
	defer f.Close() //nolint:errcheck // only read from
	return blockdev.ReadTable(f, int(readNumber(dir+"/queue/logical_block_size")))
}

// openDevice opens a device for reading, without waiting for a medium.
func (g *Guest) openDevice(path string) (*os.File, error) {
	f, err := os.OpenFile(g.path(path), os.O_RDONLY|unix.O_NONBLOCK, 0)
	if errors.Is(err, unix.ENXIO) || errors.Is(err, fs.ErrNotExist) {
		// The node is made before the disk is ready, and deleted before it is gone.
		err = fmt.Errorf("%w: %w", errNotThere, err)
	}
	return f, err
}
