// Package disks finds block devices by what is on them. It must not mount any.
package disks

import (
	"errors"
	"fmt"
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
	name string // in /sys/class/block
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

// Find returns the path of the first block device with this name, in a form of root=
// that the kernel knows (block/early-lookup.c), or UUID= or LABEL=. /sys and /dev are
// below the directory root. The error is ErrNotThere if the device may appear later.
func Find(root, device string) (path string, err error) {
	if strings.HasPrefix(device, "/dev/") {
		if _, err := os.Stat(filepath.Join(root, device)); errors.Is(err, fs.ErrNotExist) {
			return "", ErrNotThere
		}
		return device, nil
	}
	tag, value, _ := strings.Cut(device, "=")
	if value == "" || !slices.Contains([]string{"LABEL", "UUID", "PARTLABEL", "PARTUUID"}, tag) {
		return "", errors.New("not /dev/NAME, PARTUUID=, PARTLABEL=, UUID= or LABEL=, nor a tag with rootfstype=virtiofs")
	}
	is := func(name string) bool {
		return name == device || strings.HasSuffix(tag, "UUID") && strings.EqualFold(name, device)
	}
	for _, d := range devices(root) {
		if slices.ContainsFunc(d.facts, is) {
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
	var found []blockDevice
	for _, link := range links {
		d := blockDevice{name: filepath.Base(link)}
		// Always in sectors of 512 bytes (Documentation/ABI/stable/sysfs-block).
		bytes := readNumber(link+"/size") * 512
		if bytes == 0 {
			continue
		}
		d.add("", fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20)))
		content, err := ReadSuperblock(root, d.path())
		d.add("", content.Type)
		d.add("LABEL=", content.Label)
		d.add("UUID=", content.UUID)
		if number := readNumber(link + "/partition"); number > 0 {
			partition, errTable := readPartition(root, link, int(number))
			d.add("PARTLABEL=", partition.Label)
			d.add("PARTUUID=", partition.UUID)
			err = errors.Join(err, errTable)
		}
		if err != nil {
			d.add("", err.Error())
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

// readPartition reads the entry of the partition with this link in /sys, from the partition table of its disk.
func readPartition(root, link string, number int) (p blockdev.Partition, err error) {
	dir, err := filepath.EvalSymlinks(link)
	if err != nil {
		return p, err
	}
	dir = filepath.Dir(dir) // a partition's directory is in the directory of its disk
	f, err := open(root, blockDevice{name: filepath.Base(dir)}.path())
	if err != nil {
		return p, err
	}
	defer f.Close() //nolint:errcheck // only read from
	table, err := blockdev.ReadTable(f, int(readNumber(dir+"/queue/logical_block_size")))
	return table.Partition(number), err
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
