package blockdev

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Superblock is what a file system says of itself. Label and UUID are empty
// where it has none.
type Superblock struct {
	// Type is the name that mount(2) knows the file system by.
	Type        string
	Label, UUID string
}

// ReadSuperblock finds the file system on a device. Without one that it knows,
// it returns the zero Superblock; an error is one of reading.
func ReadSuperblock(r io.ReaderAt) (Superblock, error) {
	// What a short device lacks reads as zeros, which are no one's magic.
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

// ext is the family of ext4 (Documentation/filesystems/ext4/super.rst). Which of
// the three it is depends on the features that it uses.
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
	compat, incompat, readOnly := binary.LittleEndian.Uint32(b[0x5c:]), binary.LittleEndian.Uint32(b[0x60:]), binary.LittleEndian.Uint32(b[0x64:])
	s := Superblock{Type: "ext2", UUID: uuid(b[0x68:]), Label: text(b[0x78:][:16])}
	switch {
	case incompat&incompatJournalOnly != 0:
		return Superblock{} // the journal of another device
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

// squashfs has neither label nor UUID (fs/squashfs/squashfs_fs.h).
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

// read reads n bytes at an offset; what is behind the device's end is zeros.
func read(r io.ReaderAt, offset int64, n int) ([]byte, error) {
	b := make([]byte, n)
	if _, err := r.ReadAt(b, offset); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read %d bytes at %d: %w", n, offset, err)
	}
	return b, nil
}

// uuid writes the 16 bytes that b begins with as RFC 9562 section 4 does; one
// that is all zeros is none.
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

// text is what stands before the first zero.
func text(b []byte) string {
	b, _, _ = bytes.Cut(b, []byte{0})
	return string(b)
}
