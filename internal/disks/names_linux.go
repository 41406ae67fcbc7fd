package disks

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A name is one that root= can have, without what only says how it is written.
type name struct {
	tag, value string // as in UUID=VALUE; without a tag, value is a path
	offset     int    // of the partition's number (PARTNROFF)
}

// parseName reads a name in a form that the kernel (block/early-lookup.c), udev or blkid(8) knows.
func parseName(text string) (n name, err error) {
	for _, other := range []struct{ prefix, what string }{
		{"/dev/mapper/", "the device mapper (LVM, LUKS)"}, {"/dev/dm-", "the device mapper (LVM, LUKS)"}, {"/dev/md", "RAID"},
		{"zfs", "ZFS"}, {"/dev/zvol/", "ZFS"}, {"nfs", "NFS"}, {"/dev/nfs", "NFS"}, {"cifs", "CIFS"}, {"//", "CIFS"}, {"nbd:", "NBD"}, {"/dev/nbd", "NBD"},
		{"iscsi:", "iSCSI"}, {"live:", "live images"}, {"mtd", "MTD"}, {"/dev/mtd", "MTD"}, {"ubi", "UBI"}, {"/dev/ubi", "UBI"},
		{"/dev/bcache", "bcache"}, {"/dev/drbd", "DRBD"}, {"/dev/rbd", "Ceph"}, {"/dev/loop", "loop devices"}, {"/dev/zram", "zram"},
	} {
		if strings.HasPrefix(strings.ToLower(text), other.prefix) {
			return n, fmt.Errorf("arcinit does not support %s", other.what)
		}
	}
	if device, ok := deviceNumber(strings.TrimPrefix(text, "/dev/block/")); ok {
		return name{tag: "device", value: device}, nil
	}
	link, isLink := strings.CutPrefix(text, "/dev/disk/by-")
	if strings.HasPrefix(text, "/dev/") && !isLink {
		if strings.Count(text, "/") > 2 {
			return n, errors.New("arcinit does not support volume groups (LVM), and no other block device is in a directory of /dev")
		}
		return name{value: text}, nil
	}
	n.tag, n.value, _ = strings.Cut(text, "=")
	if isLink {
		n.tag, n.value, _ = strings.Cut(link, "/")
		n.tag = strings.ToUpper(n.tag)
		// udev writes a character that is no good in a file's name as \xHH, like a string of Go.
		if plain, err := strconv.Unquote(`"` + n.value + `"`); err == nil {
			n.value = plain
		}
	}
	n.value = strings.Trim(n.value, `"'`)
	if uuid, offset, ok := strings.Cut(n.value, "/PARTNROFF="); ok && n.tag == "PARTUUID" {
		n.value = uuid
		if n.offset, err = strconv.Atoi(offset); err != nil {
			return n, fmt.Errorf("PARTNROFF=%s is not a number", offset)
		}
	}
	if n.value == "" || !slices.Contains([]string{"LABEL", "UUID", "PARTLABEL", "PARTUUID"}, n.tag) {
		return n, errors.New("unknown form: use /dev/NAME, PARTUUID=, PARTLABEL=, UUID=, LABEL=, one of their names in /dev/disk, MAJOR:MINOR, virtiofs:TAG, " +
			"or a tag with rootfstype=virtiofs")
	}
	return n, nil
}

// deviceNumber returns a device number as /sys writes it, of MAJOR:MINOR or the kernel's hexadecimal digits (new_decode_dev).
func deviceNumber(text string) (number string, ok bool) {
	major, minor, ok := strings.Cut(text, ":")
	if ok {
		a, errA := strconv.ParseUint(major, 10, 32)
		b, errB := strconv.ParseUint(minor, 10, 32)
		return fmt.Sprintf("%d:%d", a, b), errA == nil && errB == nil
	}
	n, err := strconv.ParseUint(text, 16, 32)
	return fmt.Sprintf("%d:%d", unix.Major(n), unix.Minor(n)), err == nil
}

// is reports whether a device has this name. UUIDs are the same in upper and lower case.
func (n name) is(d blockDevice) bool {
	return slices.ContainsFunc(d.facts, func(fact string) bool {
		own := n.tag + "=" + n.value
		return fact == own || strings.HasSuffix(n.tag, "UUID") && strings.EqualFold(fact, own)
	})
}
