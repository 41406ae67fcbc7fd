package binfmt

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Machine is a processor as programs name theirs (e_machine of the ELF header).
type Machine uint16

// The numbers of the ELF specification's registry that are of use here.
const (
	X8664   Machine = 62
	AArch64 Machine = 183
)

// identity is how a 64-bit little-endian ELF file begins, up to its ABI.
const identity = "\x7fELF\x02\x01\x01"

// Program is the magic and the mask of the programs for a machine: an ELF header up
// to e_machine, of either type that a program can have (ET_EXEC, ET_DYN), whatever
// the ABI. Two bits more are free, in bytes that Linux does not look at.
func Program(m Machine) (magic, mask []byte) {
	magic = append([]byte(identity), make([]byte, 13)...)
	magic[16] = 2 // ET_EXEC
	binary.LittleEndian.PutUint16(magic[18:], uint16(m))
	mask = make([]byte, len(magic))
	for i := range mask {
		mask[i] = 0xff
	}
	mask[5], mask[6], mask[7], mask[16] = 0xfe, 0xfe, 0, 0xfe
	return magic, mask
}

// Takes reports whether h would have programs for a machine run by its
// interpreter: those that Program describes. What is beyond that in a file may be
// anything.
func (h *Handler) Takes(m Machine) bool {
	magic, mask := Program(m)
	for i, b := range h.Magic {
		at := h.Offset + i
		if at >= len(magic) {
			break
		}
		counts := mask[at]
		if h.Mask != nil {
			counts &= h.Mask[i]
		}
		if (b^magic[at])&counts != 0 {
			return false
		}
	}
	return h.Offset < len(magic)
}

// The layout of an ELF file's header and program headers, 64-bit (ELF-64 Object
// File Format, version 1.5), in bytes.
const (
	headerSize  = 64
	programSize = 56
	// maxPrograms is as many program headers as Linux takes (64 KiB, fs/binfmt_elf.c).
	maxPrograms = 1 << 16 / programSize

	ptInterp = 3
)

// CheckStatic reports why the kernel cannot start a program from its file alone: it
// is no 64-bit little-endian ELF file, or one that wants a dynamic loader. Of the
// file, which may be broken, at most 64 KiB and a header are read.
func CheckStatic(file io.ReaderAt) error {
	header := make([]byte, headerSize)
	if _, err := file.ReadAt(header, 0); err != nil || string(header[:len(identity)]) != identity {
		return errors.New("not a 64-bit little-endian ELF program")
	}
	offset := binary.LittleEndian.Uint64(header[32:])
	size := binary.LittleEndian.Uint16(header[54:])
	n := binary.LittleEndian.Uint16(header[56:])
	if size != programSize || n == 0 || n > maxPrograms || offset > 1<<62 {
		return errors.New("an ELF file with program headers that Linux does not take")
	}
	programs := make([]byte, int(n)*programSize)
	if _, err := file.ReadAt(programs, int64(offset)); err != nil {
		return fmt.Errorf("program headers of an ELF file: %w", err)
	}
	for p := programs; len(p) > 0; p = p[programSize:] {
		if binary.LittleEndian.Uint32(p) == ptInterp {
			return errors.New("a program that wants a dynamic loader")
		}
	}
	return nil
}
