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

// Program returns the magic and the mask of the programs for a machine: an ELF header up to e_machine, with type ET_EXEC or ET_DYN and any ABI.
func Program(m Machine) (magic, mask []byte) {
	magic = append([]byte(identity), make([]byte, 13)...)
	magic[16] = 2 // ET_EXEC
	binary.LittleEndian.PutUint16(magic[18:], uint16(m))
	mask = bytes.Repeat([]byte{0xff}, len(magic))
	mask[5], mask[6], mask[7], mask[16] = 0xfe, 0xfe, 0, 0xfe
	return magic, mask
}

// Takes reports whether h matches programs for a machine: whether its magic and Program's agree where both count.
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
	pathMax     = 4096                  // PATH_MAX (linux/limits.h)
	ptInterp    = 3                     // the type of the program header that names a dynamic loader
)

// headSize is how much of a file the kernel looks at to tell what the file is (BINPRM_BUF_SIZE, linux/binfmts.h).
const headSize = 256

// CheckStatic reports why the kernel cannot start a program from its file alone: it
// is not a 64-bit little-endian ELF file, or needs a dynamic loader.
func CheckStatic(file io.ReaderAt) error {
	interpreter, err := Interpreter(file)
	if interpreter != "" {
		return fmt.Errorf("the program needs the dynamic loader %s", interpreter)
	}
	return err
}

// Interpreter returns the path of the program that the kernel needs to start this one: what a script names after #!,
// or a dynamic loader. It reads what the kernel reads of the program before it replaces the process that calls exec.
func Interpreter(file io.ReaderAt) (string, error) {
	head := make([]byte, headSize)
	n, _ := file.ReadAt(head, 0)
	head = head[:n]
	if script, ok := bytes.CutPrefix(head, []byte("#!")); ok {
		line, _, _ := bytes.Cut(script, []byte("\n"))
		name := bytes.TrimLeft(line, " \t")
		if end := bytes.IndexAny(name, " \t"); end >= 0 {
			name = name[:end]
		}
		return string(name), nil
	}
	if n < headerSize || string(head[:len(identity)]) != identity {
		return "", errors.New("not a 64-bit little-endian ELF program")
	}
	offset := binary.LittleEndian.Uint64(head[32:])
	size := binary.LittleEndian.Uint16(head[54:])
	count := binary.LittleEndian.Uint16(head[56:])
	if size != programSize || count == 0 || count > maxPrograms || offset > 1<<62 {
		return "", errors.New("an ELF file with program headers that Linux refuses")
	}
	programs := make([]byte, int(count)*programSize)
	if _, err := file.ReadAt(programs, int64(offset)); err != nil {
		return "", fmt.Errorf("read the program headers of an ELF file: %w", err)
	}
	for p := programs; len(p) > 0; p = p[programSize:] {
		if binary.LittleEndian.Uint32(p) == ptInterp {
			path := make([]byte, min(binary.LittleEndian.Uint64(p[32:]), pathMax))
			if _, err := file.ReadAt(path, int64(binary.LittleEndian.Uint64(p[8:])&(1<<63-1))); err != nil {
				return "", fmt.Errorf("read the name of a program's dynamic loader: %w", err)
			}
			if path = bytes.TrimRight(path, "\x00"); len(path) == 0 {
				return "", errors.New("an ELF file whose dynamic loader has no name")
			}
			return string(path), nil
		}
	}
	return "", nil
}
