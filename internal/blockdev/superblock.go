// Package blockdev identifies what is on a block device: the file system, by its superblock, and the partitions, by their table. It reads a bounded
// number of bytes from an io.ReaderAt and checks every number in them. It must not know how devices are named or listed, and never mounts one.
package blockdev

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Superblock identifies a file system.
type Superblock struct {
	Type        string // its name for mount(2), or blkid(8)'s for what is no file system
	Label, UUID string // empty if it has none
	// Size is how many bytes of its device a file system uses, Device how many the device has; 0 if that is not known.
	Size, Device int64
	Detail       uint64 // the device's number in a btrfs; how much of an XFS may be inodes, in percent
}

// IsFileSystem reports whether there is a file system that mount(2) could take: not nothing, and no part of something else.
func (s Superblock) IsFileSystem() bool {
	return s.Type != "" && s.Type != "crypto_LUKS" && s.Type != "LVM2_member" && s.Type != "linux_raid_member"
}

// ReadSuperblock returns the superblock of the file system on a device, or the
// zero Superblock if it finds none that it knows. The error is one of reading.
func ReadSuperblock(r io.ReaderAt) (Superblock, error) {
	const incompatJournalDev = 0x8
	for _, fs := range []struct {
		name                           string
		offset                         int64 // of the superblock on the device
		magic                          string
		magicAt, uuid, label, maxLabel int // in the superblock; uuid is 0 if it has no names
	}{
		{"crypto_LUKS", 0, "LUKS\xba\xbe", 0, 0, 0, 0},              // both versions of cryptsetup's headers
		{"LVM2_member", 512, "LABELONE", 0, 0, 0, 0},                // struct label_header (LVM2's lib/label/label.h), mostly in the second sector
		{"linux_raid_member", 4096, "\xfc\x4e\x2b\xa9", 0, 0, 0, 0}, // struct mdp_superblock_1 (include/uapi/linux/raid/md_p.h), version 1.2
		{"xfs", 0, "XFSB", 0, 32, 108, 12},                          // struct xfs_dsb (fs/xfs/libxfs/xfs_format.h)
		{"squashfs", 0, "hsqs", 0, 0, 0, 0},                         // struct squashfs_super_block (fs/squashfs/squashfs_fs.h)
		{"ext4", 1024, "\x53\xef", 0x38, 0x68, 0x78, 16},            // Documentation/filesystems/ext4/super.rst; this driver takes ext2 and ext3, too
		{"erofs", 1024, "\xe2\xe1\xf5\xe0", 0, 48, 64, 16},          // struct erofs_super_block (fs/erofs/erofs_fs.h)
		{"btrfs", 64 << 10, "_BHRfS_M", 0x40, 0x20, 0x12b, 256},     // struct btrfs_super_block (include/uapi/linux/btrfs_tree.h)
	} {
		b, err := read(r, fs.offset, 1<<10)
		if err != nil {
			return Superblock{}, err
		}
		if !bytes.HasPrefix(b[fs.magicAt:], []byte(fs.magic)) {
			continue
		}
		if fs.name == "ext4" && binary.LittleEndian.Uint32(b[0x60:])&incompatJournalDev != 0 {
			break // the external journal of another device
		}
		s := Superblock{Type: fs.name}
		if fs.name == "crypto_LUKS" {
			s.UUID = text(b[168:][:40]) // a text, in both versions' headers
		} else if fs.uuid > 0 {
			s.UUID, s.Label = uuid(b[fs.uuid:]), text(b[fs.label:][:fs.maxLabel])
		}
		s.readSize(b)
		return s, nil
	}
	return Superblock{}, nil
}

// readSize reads the size of a file system that can grow from its superblock.
func (s *Superblock) readSize(b []byte) {
	const incompat64bit = 0x80
	le := binary.LittleEndian
	blocks, blockSize := uint64(0), uint64(1)
	switch s.Type {
	case "ext4":
		blocks, blockSize = uint64(le.Uint32(b[0x4:])), 1024<<min(le.Uint32(b[0x18:]), 6)
		if le.Uint32(b[0x60:])&incompat64bit != 0 {
			blocks |= uint64(le.Uint32(b[0x150:])) << 32
		}
	case "xfs":
		blocks, blockSize, s.Detail = binary.BigEndian.Uint64(b[8:]), uint64(binary.BigEndian.Uint32(b[4:])), uint64(b[127])
	case "btrfs": // of dev_item
		s.Detail, blocks = le.Uint64(b[0xc9:]), le.Uint64(b[0xc9+8:])
	}
	if size := int64(blocks * blockSize); size > 0 {
		s.Size = size
	}
}

// IsZero reports whether n bytes at an offset are zeros. What is behind the end of the device counts as zeros.
func IsZero(r io.ReaderAt, offset, n int64) (bool, error) {
	part, buf := io.NewSectionReader(r, offset, n), make([]byte, 256<<10)
	for {
		got, err := part.Read(buf)
		if zero := allZero(buf[:got]); !zero || errors.Is(err, io.EOF) {
			return zero, nil
		} else if err != nil {
			return false, err
		}
	}
}

// read reads n bytes at an offset. Bytes behind the end of the device are zeros, which is no file system's magic.
func read(r io.ReaderAt, offset int64, n int) ([]byte, error) {
	b := make([]byte, n)
	if _, err := r.ReadAt(b, offset); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read %d bytes at %d: %w", n, offset, err)
	}
	return b, nil
}

// uuid formats the first 16 bytes of b as in RFC 9562 section 4; all zeros mean that there is no UUID.
func uuid(b []byte) string {
	if allZero(b[:16]) {
		return ""
	}
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:16])
}

func allZero(b []byte) bool { return len(bytes.TrimLeft(b, "\x00")) == 0 }

// text returns the text before the first zero byte.
func text(b []byte) string {
	b, _, _ = bytes.Cut(b, []byte{0})
	return string(b)
}
