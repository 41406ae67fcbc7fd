// Package blockdev identifies what is on a block device: the file system, by its
// superblock, and the partitions, by their table. It reads a bounded number of
// bytes from an io.ReaderAt and checks every number in them. It must not know how
// devices are named or listed, and never mounts one.
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
	Type        string // its name for mount(2)
	Label, UUID string // empty if it has none
}

// ReadSuperblock returns the superblock of the file system on a device, or the
// zero Superblock if it finds none that it knows. The error is one of reading.
func ReadSuperblock(r io.ReaderAt) (Superblock, error) {
	head, err := read(r, 0, 4<<10)
	if err != nil {
		return Superblock{}, err
	}
	for _, find := range []func([]byte) Superblock{xfs, squashfs, ext, erofs} {
		if s := find(head); s.Type != "" {
			return s, nil
		}
	}
	block, err := read(r, 64<<10, 0x12b+256) // up to the label's end
	if err != nil {
		return Superblock{}, err
	}
	return btrfs(block), nil
}

// ext: Documentation/filesystems/ext4/super.rst. The features in use tell ext2, ext3
// and ext4 apart.
func ext(head []byte) Superblock {
	const (
		compatJournal       = 0x4
		incompatJournalOnly = 0x8
		incompatBeforeExt4  = 0x2 | 0x4 | 0x10 // filetype, recover, meta_bg
		readOnlyBeforeExt4  = 0x1 | 0x2 | 0x4  // sparse_super, large_file, btree_dir
	)
	b := head[1024:]
	if binary.LittleEndian.Uint16(b[0x38:]) != 0xef53 {
		return Superblock{}
	}
	le := binary.LittleEndian
	compat, incompat, readOnly := le.Uint32(b[0x5c:]), le.Uint32(b[0x60:]), le.Uint32(b[0x64:])
	s := Superblock{Type: "ext2", UUID: uuid(b[0x68:]), Label: text(b[0x78:][:16])}
	switch {
	case incompat&incompatJournalOnly != 0:
		return Superblock{} // the external journal of another device
	case incompat&^incompatBeforeExt4 != 0, readOnly&^readOnlyBeforeExt4 != 0:
		s.Type = "ext4"
	case compat&compatJournal != 0:
		s.Type = "ext3"
	}
	return s
}

// erofs: struct erofs_super_block (fs/erofs/erofs_fs.h).
func erofs(head []byte) Superblock {
	b := head[1024:]
	if binary.LittleEndian.Uint32(b) != 0xe0f5e1e2 {
		return Superblock{}
	}
	return Superblock{Type: "erofs", UUID: uuid(b[48:]), Label: text(b[64:][:16])}
}

// xfs: struct xfs_dsb (fs/xfs/libxfs/xfs_format.h).
func xfs(head []byte) Superblock {
	if !bytes.HasPrefix(head, []byte("XFSB")) {
		return Superblock{}
	}
	return Superblock{Type: "xfs", UUID: uuid(head[32:]), Label: text(head[108:][:12])}
}

// squashfs: struct squashfs_super_block (fs/squashfs/squashfs_fs.h), which has
// neither label nor UUID.
func squashfs(head []byte) Superblock {
	if !bytes.HasPrefix(head, []byte("hsqs")) {
		return Superblock{}
	}
	return Superblock{Type: "squashfs"}
}

// btrfs: struct btrfs_super_block (include/uapi/linux/btrfs_tree.h).
func btrfs(b []byte) Superblock {
	if string(b[0x40:][:8]) != "_BHRfS_M" {
		return Superblock{}
	}
	return Superblock{Type: "btrfs", UUID: uuid(b[0x20:]), Label: text(b[0x12b:][:256])}
}

// read reads n bytes at an offset. Bytes behind the end of the device are zeros,
// which is no file system's magic.
func read(r io.ReaderAt, offset int64, n int) ([]byte, error) {
	b := make([]byte, n)
	if _, err := r.ReadAt(b, offset); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read %d bytes at %d: %w", n, offset, err)
	}
	return b, nil
}

// uuid formats the first 16 bytes of b as in RFC 9562 section 4; all zeros mean
// that there is no UUID.
func uuid(b []byte) string {
	b = b[:16]
	if allZero(b) {
		return ""
	}
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func allZero(b []byte) bool {
	return len(bytes.TrimLeft(b, "\x00")) == 0
}

// text returns the text before the first zero byte.
func text(b []byte) string {
	b, _, _ = bytes.Cut(b, []byte{0})
	return string(b)
}
