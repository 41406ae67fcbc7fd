package binfmt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Machine is the processor that a program is for (e_machine of the ELF header).
type Machine uint16

const (
	X8664   Machine = 62
	AArch64 Machine = 183
)

// identity is the beginning of a 64-bit little-endian ELF file, up to its ABI.
const identity = "\x7fELF\x02\x01\x01"

// Program returns the magic and the mask of the programs for a machine: an ELF
// header up to e_machine, with type ET_EXEC or ET_DYN and any ABI.
func Program(m Machine) (magic, mask []byte) {
	magic = append([]byte(identity), make([]byte, 13)...)
	magic[16] = 2 // ET_EXEC
	binary.LittleEndian.PutUint16(magic[18:], uint16(m))
	mask = bytes.Repeat([]byte{0xff}, len(magic))
	mask[5], mask[6], mask[7], mask[16] = 0xfe, 0xfe, 0, 0xfe
	return magic, mask
}

// Takes reports whether h matches programs for a machine: whether its magic and
// Program's agree where both count.
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

// Sizes in a 64-bit ELF file, in bytes (ELF-64 Object File Format, version 1.5).
const (
	headerSize  = 64
	programSize = 56
	maxPrograms = 1 << 16 / programSize // Linux takes 64 KiB (fs/binfmt_elf.c)
	ptInterp    = 3                     // the type of the program header that names a dynamic loader
)

// CheckStatic reports why the kernel cannot start a program from its file alone: it
// is not a 64-bit little-endian ELF file, or needs a dynamic loader.
func CheckStatic(file io.ReaderAt) error {
	header := make([]byte, headerSize)
	if _, err := file.ReadAt(header, 0); err != nil || string(header[:len(identity)]) != identity {
		return errors.New("not a 64-bit little-endian ELF program")
	}
	offset := binary.LittleEndian.Uint64(header[32:])
	size := binary.LittleEndian.Uint16(header[54:])
	n := binary.LittleEndian.Uint16(header[56:])
	if size != programSize || n == 0 || n > maxPrograms || offset > 1<<62 {
		return errors.New("an ELF file with program headers that Linux refuses")
	}
	programs := make([]byte, int(n)*programSize)
	if _, err := file.ReadAt(programs, int64(offset)); err != nil {
		return fmt.Errorf("read the program headers of an ELF file: %w", err)
	}
	for p := programs; len(p) > 0; p = p[programSize:] {
		if binary.LittleEndian.Uint32(p) == ptInterp {
			return errors.New("a program that needs a dynamic loader")
		}
	}
	return nil
}
