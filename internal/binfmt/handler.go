package binfmt

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Handler has files that begin in a certain way run by an interpreter.
type Handler struct {
	Name        string
	Interpreter string // absolute path
	// Magic is what such a file has at Offset, in bytes from its beginning.
	Magic  []byte
	Offset int
	// Mask has a bit set for each bit of Magic that counts; nil if all do.
	Mask []byte
	// Flags are letters: P keeps argv[0], O passes the file open, C gives the
	// process the file's credentials and implies O, F opens the interpreter
	// once for all, so that every mount name space has it.
	Flags string
}

// What the kernel can take, in bytes: of the interpreter's path, and of the part
// of a file that it compares.
const (
	maxInterpreter = 127
	maxCompared    = 128
)

// flags are all that there are, in the order in which the kernel lists them.
const flags = "POCF"

// Check reports why h cannot be a handler.
func (h *Handler) Check() error {
	if h.Name == "" || strings.Trim(h.Name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.+") != "" || len(h.Name) > 64 {
		return fmt.Errorf("name %q: not 1 to 64 letters, digits, or any of -_.+", h.Name)
	}
	switch {
	case h.Name == "." || h.Name == ".." || h.Name == "register" || h.Name == "status": // files of binfmt_misc
		return fmt.Errorf("name %q: the kernel's own", h.Name)
	case !strings.HasPrefix(h.Interpreter, "/"):
		return fmt.Errorf("interpreter %q: not an absolute path", h.Interpreter)
	case len(h.Interpreter) > maxInterpreter:
		return fmt.Errorf("interpreter %q: longer than %d bytes", h.Interpreter, maxInterpreter)
	case strings.ContainsAny(h.Interpreter, ":\n"):
		return fmt.Errorf("interpreter %q: has a colon or a line end in it", h.Interpreter)
	case len(h.Magic) == 0:
		return errors.New("magic: missing")
	case h.Offset < 0 || h.Offset > maxCompared-len(h.Magic):
		return fmt.Errorf("magic and offset: beyond the first %d bytes of a file", maxCompared)
	case h.Mask != nil && len(h.Mask) != len(h.Magic):
		return fmt.Errorf("mask: %d bytes for a magic of %d", len(h.Mask), len(h.Magic))
	case h.Mask != nil && len(bytes.Trim(h.Mask, "\x00")) == 0:
		return errors.New("mask: every file would match")
	}
	for i, f := range h.Flags {
		if !strings.ContainsRune(flags, f) || strings.ContainsRune(h.Flags[:i], f) {
			return fmt.Errorf("flags %q: not each of %s at most once", h.Flags, flags)
		}
	}
	return nil
}

// Registration is what makes the kernel take h, written to the file register.
func (h *Handler) Registration() string {
	return fmt.Sprintf(":%s:M:%d:%s:%s:%s:%s", h.Name, h.Offset, escape(h.Magic), escape(h.Mask), h.Interpreter, h.Flags)
}

// escape writes bytes so that none can be taken for a separator.
func escape(b []byte) string {
	var s strings.Builder
	for _, c := range b {
		fmt.Fprintf(&s, `\x%02x`, c)
	}
	return s.String()
}

// Unescape reads bytes as they are written to binfmt_misc, and in the tables of
// other programs: \xHH is a byte in hexadecimal, other ASCII stands for itself.
func Unescape(s string) (b []byte, err error) {
	for rest := s; rest != ""; {
		if hex, ok := strings.CutPrefix(rest, `\x`); ok && len(hex) >= 2 {
			n, err := strconv.ParseUint(hex[:2], 16, 8)
			if err != nil {
				return nil, fmt.Errorf("%q: %w", s, err)
			}
			b, rest = append(b, byte(n)), hex[2:]
			continue
		}
		if rest[0] == '\\' || rest[0] >= 0x80 {
			return nil, fmt.Errorf("%q: not ASCII with \\xHH (in single quotes) for other bytes", s)
		}
		b, rest = append(b, rest[0]), rest[1:]
	}
	return b, nil
}
