// Package binfmt formats entries of the kernel's binfmt_misc (Documentation/admin-guide/binfmt-misc.rst), and checks
// which programs can be interpreters. It must not know which handlers there are, and opens no file.
package binfmt

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Handler has the kernel run files that begin with certain bytes by an interpreter.
type Handler struct {
	Name        string
	Interpreter string // absolute path
	Magic       []byte // the bytes at Offset of such a file
	Offset      int
	Mask        []byte // a bit is set for each bit of Magic that counts; nil if all count
	// Flags are letters. P keeps argv[0]. O passes the file open. C gives the process the file's credentials, and
	// implies O. F opens the interpreter at registration, so that it works in every mount name space.
	Flags string
}

const (
	maxInterpreter = 127    // of the interpreter's path, in bytes
	maxCompared    = 128    // how much of a file the kernel compares, in bytes
	flags          = "POCF" // all flags, in the kernel's order
)

// Check reports why h cannot be a handler.
func (h *Handler) Check() error {
	const nameChars = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.+"
	switch {
	case h.Name == "" || len(h.Name) > 64 || strings.Trim(h.Name, nameChars) != "":
		return fmt.Errorf("name %q is not 1 to 64 letters, digits, or any of -_.+", h.Name)
	case h.Name == "." || h.Name == ".." || h.Name == "register" || h.Name == "status":
		return fmt.Errorf("name %q is a file of the kernel's", h.Name)
	case !strings.HasPrefix(h.Interpreter, "/") || len(h.Interpreter) > maxInterpreter || strings.ContainsAny(h.Interpreter, ":\n"):
		return fmt.Errorf("interpreter %q is not an absolute path of at most %d bytes without colons", h.Interpreter, maxInterpreter)
	case len(h.Magic) == 0:
		return errors.New("magic is missing")
	case h.Offset < 0 || h.Offset > maxCompared-len(h.Magic):
		return fmt.Errorf("offset %d puts the magic outside of the first %d bytes of a file", h.Offset, maxCompared)
	case h.Mask != nil && len(h.Mask) != len(h.Magic):
		return fmt.Errorf("mask has %d bytes for a magic of %d", len(h.Mask), len(h.Magic))
	case h.Mask != nil && len(bytes.Trim(h.Mask, "\x00")) == 0:
		return errors.New("mask is zero: every file would match")
	}
	for i, f := range h.Flags {
		if !strings.ContainsRune(flags, f) || strings.ContainsRune(h.Flags[:i], f) {
			return fmt.Errorf("flags %q are not some of %s, each once", h.Flags, flags)
		}
	}
	return nil
}

// Registration returns what to write to the file register to register h.
func (h *Handler) Registration() string {
	return fmt.Sprintf(":%s:M:%d:%s:%s:%s:%s", h.Name, h.Offset, escape(h.Magic), escape(h.Mask), h.Interpreter, h.Flags)
}

// escape writes all bytes as \xHH, so that none looks like a separator.
func escape(b []byte) string {
	var s strings.Builder
	for _, c := range b {
		fmt.Fprintf(&s, `\x%02x`, c)
	}
	return s.String()
}

// Unescape reads bytes in the kernel's spelling, which other programs' tables share: \xHH is a byte in hexadecimal, other ASCII stands for itself.
func Unescape(s string) (b []byte, err error) {
	for rest := s; rest != ""; {
		if digits, ok := strings.CutPrefix(rest, `\x`); ok && len(digits) >= 2 {
			n, err := strconv.ParseUint(digits[:2], 16, 8)
			if err != nil {
				return nil, fmt.Errorf("%q: %w", s, err)
			}
			b, rest = append(b, byte(n)), digits[2:]
			continue
		}
		if rest[0] == '\\' || rest[0] >= 0x80 {
			return nil, fmt.Errorf("%q is not ASCII with \\xHH for other bytes (in single quotes)", s)
		}
		b, rest = append(b, rest[0]), rest[1:]
	}
	return b, nil
}

// Entry returns what the kernel's file of h says while h is enabled.
func (h *Handler) Entry() string {
	entry := fmt.Sprintf("enabled\ninterpreter %s\nflags: ", h.Interpreter)
	for _, flag := range []byte(flags) {
		if h.Has(flag) {
			entry += string(flag)
		}
	}
	entry += fmt.Sprintf("\noffset %d\nmagic %x\n", h.Offset, h.Magic)
	if h.Mask != nil {
		entry += fmt.Sprintf("mask %x\n", h.Mask)
	}
	return entry
}

// Has reports whether h has a flag. C implies O.
func (h *Handler) Has(flag byte) bool {
	return strings.IndexByte(h.Flags, flag) >= 0 || flag == 'O' && h.Has('C')
}
