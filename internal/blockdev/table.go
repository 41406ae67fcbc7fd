package blockdev

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
	"unicode/utf16"
)

// Partition has the names of a partition that root= can use. An MBR has no labels.
type Partition struct {
	UUID, Label string
}

// Table is the partition table of a disk: an MBR with a signature, which may be 0, or a GPT with partitions, by number from 1.
type Table struct {
	mbr        bool
	signature  uint32
	partitions map[int]Partition
}

// Limits of a GPT, for 2 MiB of entries. The UEFI specification (section 5.3.2) has
// entries of 128 bytes or more, and partitioning programs make 128 of them.
const minEntrySize, maxEntrySize, maxEntries = 128, 4096, 512

// ReadTable reads the partition table of a disk, whose logical blocks have blockSize bytes. A disk
// without a table is no error, but has no partitions. A damaged GPT is an error.
func ReadTable(r io.ReaderAt, blockSize int) (Table, error) {
	const (
		signature      = 440
		firstType      = 446 + 4 // the type in the first of four entries
		entrySize      = 16
		bootMark       = 510
		typeProtective = 0xee // the disk has a GPT
	)
	mbr, err := read(r, 0, 512)
	if err != nil {
		return Table{}, fmt.Errorf("read the partition table: %w", err)
	}
	if mbr[bootMark] != 0x55 || mbr[bootMark+1] != 0xaa {
		return Table{}, nil
	}
	for i := range 4 {
		if mbr[firstType+i*entrySize] == typeProtective {
			partitions, err := readGPT(r, blockSize)
			if err != nil {
				return Table{}, fmt.Errorf("GPT: %w", err)
			}
			return Table{partitions: partitions}, nil
		}
	}
	return Table{mbr: true, signature: binary.LittleEndian.Uint32(mbr[signature:])}, nil
}

// Partition returns the partition that has this number in the kernel.
func (t Table) Partition(number int) Partition {
	if t.mbr {
		// The kernel makes such a UUID for an MBR (block/partitions/msdos.c).
		return Partition{UUID: fmt.Sprintf("%08x-%02x", t.signature, number)}
	}
	return t.partitions[number]
}

// readGPT reads the GPT that begins at the second block (UEFI specification, section 5.3). Like the kernel, it refuses a GPT with a wrong checksum.
func readGPT(r io.ReaderAt, blockSize int) (map[int]Partition, error) {
	const minHeader, maxHeader = 92, 512
	if blockSize < maxHeader {
		return nil, fmt.Errorf("blocks of %d bytes are too small", blockSize)
	}
	header, err := read(r, int64(blockSize), maxHeader)
	if err != nil {
		return nil, err
	}
	if !bytes.HasPrefix(header, []byte("EFI PART")) {
		return nil, errors.New("there is no header")
	}
	le := binary.LittleEndian
	size := le.Uint32(header[12:])
	if size < minHeader || size > maxHeader {
		return nil, fmt.Errorf("the header has a size of %d bytes", size)
	}
	sum := le.Uint32(header[16:])
	clear(header[16:20]) // the checksum does not cover itself
	if crc32.ChecksumIEEE(header[:size]) != sum {
		return nil, errors.New("the checksum of the header is wrong")
	}
	block, count, entrySize := le.Uint64(header[72:]), le.Uint32(header[80:]), le.Uint32(header[84:])
	if count > maxEntries || entrySize < minEntrySize || entrySize > maxEntrySize || block > 1<<40 {
		return nil, fmt.Errorf("the header has %d entries of %d bytes at block %d", count, entrySize, block)
	}
	entries, err := read(r, int64(block)*int64(blockSize), int(count*entrySize))
	if err != nil {
		return nil, err
	}
	if crc32.ChecksumIEEE(entries) != le.Uint32(header[88:]) {
		return nil, errors.New("the checksum of the entries is wrong")
	}
	partitions := map[int]Partition{}
	for number := 1; len(entries) > 0; number++ {
		if kind := entries[:16]; !allZero(kind) {
			partitions[number] = Partition{UUID: guid(entries[16:]), Label: utf16Text(entries[56:128])}
		}
		entries = entries[entrySize:]
	}
	return partitions, nil
}

// guid formats a UUID whose first three numbers are little-endian (UEFI specification, appendix A).
func guid(b []byte) string {
	le := binary.LittleEndian
	return fmt.Sprintf("%08x-%04x-%04x-%x-%x", le.Uint32(b), le.Uint16(b[4:]), le.Uint16(b[6:]), b[8:10], b[10:16])
}

// utf16Text decodes little-endian UTF-16 up to the first zero.
func utf16Text(b []byte) string {
	units := make([]uint16, len(b)/2)
	_, _ = binary.Decode(b, binary.LittleEndian, units)
	decoded, _, _ := strings.Cut(string(utf16.Decode(units)), "\x00")
	return decoded
}
