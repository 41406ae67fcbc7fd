// Package disks finds block devices by what is on them. It must not mount any.
package disks

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/arcinit/arcinit/internal/blockdev"
	"github.com/arcinit/arcinit/internal/kernelfile"
	"golang.org/x/sys/unix"
)

// ErrNotThere is the error of a device that may appear later.
var ErrNotThere = errors.New("not there")

// blockDevice is a disk or a partition.
type blockDevice struct {
	name   string // in /sys/class/block
	disk   string // the name of a partition's disk; number is the partition's, from 1
	number int
	// facts are the size, the file system's type, the names for root=, and errors.
	facts []string
}

// path returns the device's node. A slash in its name is an exclamation mark in /sys.
func (d blockDevice) path() string { return "/dev/" + strings.ReplaceAll(d.name, "!", "/") }

func (d blockDevice) String() string { return d.name + " (" + strings.Join(d.facts, ", ") + ")" }

// add adds a fact, if it is known.
func (d *blockDevice) add(key, value string) {
	if value != "" {
		d.facts = append(d.facts, key+value)
	}
}

func (d *blockDevice) addError(err error) {
	if err != nil {
		d.add("", err.Error())
	}
}

// Find returns the path of the first block device with this name, in a form of root= (parseName). /sys and /dev are below
// the directory root. The error is ErrNotThere if the device may appear later.
func Find(root, text string) (path string, err error) {
	n, err := parseName(text)
	if err != nil {
		return "", err
	}
	switch n.tag {
	case "":
		if _, err := os.Stat(filepath.Join(root, n.value)); errors.Is(err, fs.ErrNotExist) {
			return "", ErrNotThere
		}
		return n.value, nil
	case "device":
		dir, err := filepath.EvalSymlinks(filepath.Join(root, "/sys/dev/block", n.value))
		if err != nil {
			return "", ErrNotThere
		}
		return blockDevice{name: filepath.Base(dir)}.path(), nil
	}
	all := devices(root)
	i := slices.IndexFunc(all, n.is)
	if i >= 0 && n.offset != 0 {
		named := all[i]
		i = slices.IndexFunc(all, func(d blockDevice) bool { return d.disk == named.disk && d.number == named.number+n.offset })
	}
	if i < 0 {
		return "", ErrNotThere
	}
	return all[i].path(), nil
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
	var found []blockDevice
	for _, link := range links {
		d := blockDevice{name: filepath.Base(link)}
		// Always in sectors of 512 bytes (Documentation/ABI/stable/sysfs-block).
		bytes := readNumber(link+"/size") * 512
		if bytes == 0 {
			continue
		}
		d.add("", fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20)))
		// A disk with partitions may have kept the superblock of what was on it before.
		if partitions, _ := filepath.Glob(link + "/*/partition"); len(partitions) == 0 {
			content, err := ReadSuperblock(root, d.path())
			d.add("", content.Type)
			d.add("LABEL=", content.Label)
			d.add("UUID=", content.UUID)
			d.addError(err)
		}
		if d.number = int(readNumber(link + "/partition")); d.number > 0 {
			d.addError(d.readPartition(root, link))
		}
		found = append(found, d)
	}
	return found
}

// ReadSuperblock reads the superblock of the device with this path. The error is ErrNotThere if the device may appear later.
func ReadSuperblock(root, path string) (blockdev.Superblock, error) {
	f, err := open(root, path)
	if err != nil {
		return blockdev.Superblock{}, err
	}
	defer f.Close() //nolint:errcheck // only read from
	s, err := blockdev.ReadSuperblock(f)
	s.Device, _ = f.Seek(0, io.SeekEnd) // zero of what is no device
	if err != nil {
		return s, fmt.Errorf("superblock of %s: %w", path, err)
	}
	return s, nil
}

// readPartition adds the names that a partition, which has this link in /sys, has in the partition table of its disk.
func (d *blockDevice) readPartition(root, link string) error {
	dir, err := filepath.EvalSymlinks(link)
	if err != nil {
		return err
	}
	dir = filepath.Dir(dir) // a partition's directory is in the directory of its disk
	d.disk = filepath.Base(dir)
	f, err := open(root, blockDevice{name: d.disk}.path())
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // only read from
	table, err := blockdev.ReadTable(f, int(readNumber(dir+"/queue/logical_block_size")))
	d.add("PARTLABEL=", table.Partition(d.number).Label)
	d.add("PARTUUID=", table.Partition(d.number).UUID)
	return err
}

// Ready returns ErrNotThere if the device with this path may appear later, and nil if it is there.
func Ready(root, path string) error {
	f, err := open(root, path)
	if err == nil {
		err = f.Close()
	}
	return err
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
	text, _ := kernelfile.Read(path)
	n, _ := strconv.ParseUint(text, 10, 54)
	return n
}
