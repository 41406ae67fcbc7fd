package blockdev

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"unicode/utf16"
)

// Partition is what root= can name a partition by. Label is empty in an MBR's
// table, which has none.
type Partition struct {
	UUID, Label string
}

// Table is the partition table of a disk.
type Table struct {
	// signature is an MBR's; partitions are a GPT's, by number from 1.
	signature  uint32
	partitions map[int]Partition
}

// Limits of what is taken for a GPT: entries are 128 bytes in the UEFI
// specification (section 5.3.2), and 128 of them what partitioning programs make.
// A table of the largest is 2 MiB.
const (
	minEntrySize = 128
	maxEntrySize = 4096
	maxEntries   = 512
)

// ReadTable reads the partition table of a disk whose logical blocks have this
// many bytes. A disk without one has no partitions, which is no error; a GPT that
// is damaged is.
func ReadTable(r io.ReaderAt, blockSize int) (Table, error) {
	const (
		signature      = 440 // of the disk
		firstEntry     = 446
		entryType      = 4
		entries        = 4
		entrySize      = 16
		bootMark       = 510
		typeProtective = 0xee // there is a GPT
	)
	mbr, err := read(r, 0, 512)
	if err != nil {
		return Table{}, fmt.Errorf("partition table: %w", err)
	}
	if mbr[bootMark] != 0x55 || mbr[bootMark+1] != 0xaa {
		return Table{}, nil
	}
	for i := range entries {
		if mbr[firstEntry+i*entrySize+entryType] == typeProtective {
			partitions, err := readGPT(r, blockSize)
			if err != nil {
				return Table{}, fmt.Errorf("GPT: %w", err)
			}
			return Table{partitions: partitions}, nil
		}
	}
	return Table{signature: binary.LittleEndian.Uint32(mbr[signature:])}, nil
}

// Partition returns what the table says of the partition that the kernel gives
// this number.
func (t Table) Partition(number int) Partition {
	if t.signature != 0 {
		// Which is the kernel's invention (block/partitions/msdos.c).
		return Partition{UUID: fmt.Sprintf("%08x-%02x", t.signature, number)}
	}
	return t.partitions[number]
}

// readGPT reads the table that begins at the second block (UEFI specification,
// section 5.3). Like the kernel it believes none with a wrong checksum.
func readGPT(r io.ReaderAt, blockSize int) (map[int]Partition, error) {
	const minHeader, maxHeader = 92, 512
	if blockSize < maxHeader {
		return nil, fmt.Errorf("blocks of %d bytes", blockSize)
	}
	header, err := read(r, int64(blockSize), maxHeader)
	if err != nil {
		return nil, err
	}
	if !bytes.HasPrefix(header, []byte("EFI PART")) {
		return nil, errors.New("no header")
	}
	le := binary.LittleEndian
	size := le.Uint32(header[12:])
	if size < minHeader || size > maxHeader {
		return nil, fmt.Errorf("header of %d bytes", size)
	}
	sum := le.Uint32(header[16:])
	clear(header[16:20]) // the sum is of a header without it
	if crc32.ChecksumIEEE(header[:size]) != sum {
		return nil, errors.New("checksum of the header is wrong")
	}
	block, count, entrySize := le.Uint64(header[72:]), le.Uint32(header[80:]), le.Uint32(header[84:])
	if count > maxEntries || entrySize < minEntrySize || entrySize > maxEntrySize || block > 1<<40 {
		return nil, fmt.Errorf("%d entries of %d bytes at block %d", count, entrySize, block)
	}
	length := int64(count) * int64(entrySize)
	table := bufio.NewReader(io.NewSectionReader(r, int64(block)*int64(blockSize), length))
	checksum := crc32.NewIEEE()
	partitions := map[int]Partition{}
	entry := make([]byte, entrySize)
	for number := range int(count) {
		if _, err := io.ReadFull(table, entry); err != nil {
			return nil, fmt.Errorf("entry %d: %w", number+1, err)
		}
		_, _ = checksum.Write(entry)
		if kind := entry[:16]; !allZero(kind) {
			partitions[number+1] = Partition{UUID: guid(entry[16:]), Label: utf16Text(entry[56:128])}
		}
	}
	if checksum.Sum32() != le.Uint32(header[88:]) {
		return nil, errors.New("checksum of the entries is wrong")
	}
	return partitions, nil
}

// guid writes a UUID of which the first three numbers are little-endian (UEFI
// specification, appendix A).
func guid(b []byte) string {
	le := binary.LittleEndian
	return fmt.Sprintf("%08x-%04x-%04x-%x-%x", le.Uint32(b), le.Uint16(b[4:]), le.Uint16(b[6:]), b[8:10], b[10:16])
}

// utf16Text decodes little-endian UTF-16 up to the first zero.
func utf16Text(b []byte) string {
	var units []uint16
	for ; len(b) > 1; b = b[2:] {
		unit := binary.LittleEndian.Uint16(b)
		if unit == 0 {
			break
		}
		units = append(units, unit)
	}
	return string(utf16.Decode(units))
}
