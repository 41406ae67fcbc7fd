package binfmt

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

// ParseEntry reads what the kernel says of the handler that it has under this
// name. A handler that goes by a file's extension, not its magic, is an error.
func ParseEntry(name, text string) (h *Handler, enabled bool, err error) {
	h = &Handler{Name: name}
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		switch key {
		case "enabled":
			enabled = true
		case "interpreter":
			h.Interpreter = value
		case "flags:":
			h.Flags = value
		case "offset":
			h.Offset, err = strconv.Atoi(value)
		case "magic":
			h.Magic, err = hex.DecodeString(value)
		case "mask":
			h.Mask, err = hex.DecodeString(value)
		}
		if err != nil {
			return h, enabled, fmt.Errorf("binfmt entry %s: %q: %w", name, line, err)
		}
	}
	if err := h.Check(); err != nil {
		return h, enabled, fmt.Errorf("binfmt entry %s: %w", name, err)
	}
	return h, enabled, nil
}

// Same reports whether h and other are one handler to the kernel.
func (h *Handler) Same(other *Handler) bool {
	for _, flag := range []byte(flags) {
		if h.Has(flag) != other.Has(flag) {
			return false
		}
	}
	return h.Name == other.Name && h.Interpreter == other.Interpreter && h.Offset == other.Offset &&
		bytes.Equal(h.Magic, other.Magic) && bytes.Equal(h.Mask, other.Mask)
}

// Has reports whether h has a flag, by itself or because another implies it.
func (h *Handler) Has(flag byte) bool {
	return strings.IndexByte(h.Flags, flag) >= 0 || flag == 'O' && h.Has('C')
}
