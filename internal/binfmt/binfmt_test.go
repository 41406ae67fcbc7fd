package binfmt

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"
)

// rosetta is the handler that the specification describes.
func rosetta() *Handler {
	h := &Handler{Name: "rosetta", Interpreter: "/media/rosetta/rosetta", Flags: "CF"}
	h.Magic, h.Mask = Program(X8664)
	return h
}

func TestRegistration(t *testing.T) {
	const want = `:rosetta:M:0:` +
		`\x7f\x45\x4c\x46\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x3e\x00:` +
		`\xff\xff\xff\xff\xff\xfe\xfe\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:` +
		`/media/rosetta/rosetta:CF`
	if got := rosetta().Registration(); got != want {
		t.Errorf("Registration() = %s, want %s", got, want)
	}
	bare := &Handler{Name: "x", Interpreter: "/x", Magic: []byte(":x"), Offset: 3}
	if got, want := bare.Registration(), `:x:M:3:\x3a\x78::/x:`; got != want {
		t.Errorf("Registration() = %s, want %s", got, want)
	}
}

// TestEntry has what Linux 6.12 says of two handlers.
func TestEntry(t *testing.T) {
	const entry = `enabled
interpreter /media/rosetta/rosetta
flags: OCF
offset 0
magic 7f454c4602010100000000000000000002003e00
mask fffffffffffefe00fffffffffffffffffeffffff
`
	if got := rosetta().Entry(); got != entry {
		t.Errorf("Entry() = %s, want %s", got, entry)
	}
	bare := &Handler{Name: "x", Interpreter: "/x", Magic: []byte(":x"), Offset: 3}
	if got, want := bare.Entry(), "enabled\ninterpreter /x\nflags: \noffset 3\nmagic 3a78\n"; got != want {
		t.Errorf("Entry() = %q, want %q", got, want)
	}
}

func TestCheck(t *testing.T) {
	if err := rosetta().Check(); err != nil {
		t.Error(err)
	}
	for what, change := range map[string]func(*Handler){
		"name: empty":              func(h *Handler) { h.Name = "" },
		"name: slash":              func(h *Handler) { h.Name = "a/b" },
		"name: colon":              func(h *Handler) { h.Name = "a:b" },
		"name: the kernel's file":  func(h *Handler) { h.Name = "register" },
		"name: too long":           func(h *Handler) { h.Name = strings.Repeat("x", 65) },
		"interpreter: relative":    func(h *Handler) { h.Interpreter = "sh" },
		"interpreter: too long":    func(h *Handler) { h.Interpreter = "/" + strings.Repeat("x", 127) },
		"interpreter: colon":       func(h *Handler) { h.Interpreter = "/a:b" },
		"interpreter: line end":    func(h *Handler) { h.Interpreter = "/a\nb" },
		"magic: missing":           func(h *Handler) { h.Magic = nil },
		"offset: beyond 128 bytes": func(h *Handler) { h.Offset = 109 },
		"offset: negative":         func(h *Handler) { h.Offset = -1 },
		"mask: shorter than magic": func(h *Handler) { h.Mask = h.Mask[:3] },
		"mask: matches every file": func(h *Handler) { h.Mask = make([]byte, 20) },
		"flags: unknown":           func(h *Handler) { h.Flags = "CX" },
		"flags: one of them twice": func(h *Handler) { h.Flags = "CC" },
	} {
		h := rosetta()
		change(h)
		field, _, _ := strings.Cut(what, ":")
		if err := h.Check(); err == nil || !strings.HasPrefix(err.Error(), field) {
			t.Errorf("%s: Check = %v, want an error about the %s", what, err, field)
		}
	}
}

func TestUnescape(t *testing.T) {
	for text, want := range map[string]string{"": "", `\x7fELF\x02`: "\x7fELF\x02", `a\xFFb`: "a\xffb", "\x00": "\x00"} {
		if got, err := Unescape(text); err != nil || string(got) != want {
			t.Errorf("Unescape(%q) = %q, %v, want %q", text, got, err, want)
		}
	}
	for _, text := range []string{`\`, `\x`, `\x1`, `\xg0`, `\n12`, "\u00ff"} {
		if got, err := Unescape(text); err == nil {
			t.Errorf("Unescape(%q) = %q", text, got)
		}
	}
}

func TestTakes(t *testing.T) {
	i386 := rosetta()
	i386.Magic, i386.Mask = bytes.Clone(i386.Magic), nil
	i386.Magic[4], i386.Magic[18] = 1, 3
	for _, tt := range []struct {
		name           string
		h              *Handler
		x8664, aarch64 bool
	}{
		{"rosetta", rosetta(), true, false},
		{"32 bits", i386, false, false},
		{"any ELF", &Handler{Magic: []byte("\x7fELF")}, true, true},
		{"any script", &Handler{Magic: []byte("#!")}, false, false},
		{"position-independent x86-64", &Handler{Magic: []byte("\x03\x00\x3e\x00"), Offset: 16}, true, false},
		{"position-independent AArch64, and more", &Handler{Magic: []byte("\x03\x00\xb7\x00\x01\x00\x00\x00\x99"), Offset: 16}, false, true},
		{"big-endian", &Handler{Magic: []byte("\x02"), Offset: 5}, false, false},
		{"only masked bytes", &Handler{Magic: []byte("##"), Mask: []byte{0, 0}}, true, true},
		{"later in the file", &Handler{Magic: []byte("ARCINIT"), Offset: 64}, false, false},
	} {
		if got := tt.h.Takes(X8664); got != tt.x8664 {
			t.Errorf("%s takes x86-64 programs: %v", tt.name, got)
		}
		if got := tt.h.Takes(AArch64); got != tt.aarch64 {
			t.Errorf("%s takes AArch64 programs: %v", tt.name, got)
		}
	}
}

// program is an ELF file with program headers of these types.
func program(types ...uint32) []byte {
	b := make([]byte, headerSize+programSize*len(types))
	copy(b, identity)
	binary.LittleEndian.PutUint64(b[32:], headerSize)
	binary.LittleEndian.PutUint16(b[54:], programSize)
	binary.LittleEndian.PutUint16(b[56:], uint16(len(types)))
	for i, p := range types {
		binary.LittleEndian.PutUint32(b[headerSize+i*programSize:], p)
	}
	return b
}

func TestCheckStatic(t *testing.T) {
	const load, dynamic = 1, 2
	edit := func(b []byte, at int, value uint64, size int) []byte {
		binary.LittleEndian.PutUint64(b[at:], binary.LittleEndian.Uint64(b[at:])&^(1<<(8*size)-1)|value)
		return b
	}
	for _, tt := range []struct {
		name string
		file []byte
		ok   bool
	}{
		{"static", program(load, load), true},
		{"static and position-independent", program(load, dynamic), true},
		{"dynamic", program(load, ptInterp), false},
		{"empty", nil, false},
		{"script", []byte("#!/bin/sh\n" + strings.Repeat("#", 100)), false},
		{"header alone", program(load)[:headerSize], false},
		{"cut off", program(load, load)[:headerSize+programSize], false},
		{"no program headers", program(), false},
		{"too many", edit(program(load), 56, maxPrograms+1, 2), false},
		{"of another size", edit(program(load), 54, 32, 2), false},
		{"far beyond the end", edit(program(load), 32, 1<<40, 8), false},
		{"below zero", edit(program(load), 32, 1<<63, 8), false},
	} {
		err := CheckStatic(bytes.NewReader(tt.file))
		if (err == nil) != tt.ok {
			t.Errorf("%s: CheckStatic = %v", tt.name, err)
		}
	}
}

func TestInterpreter(t *testing.T) {
	const loader = "/lib64/ld-linux-x86-64.so.2\x00"
	dynamic := program(1, ptInterp)
	binary.LittleEndian.PutUint64(dynamic[headerSize+programSize+8:], uint64(len(dynamic)))
	binary.LittleEndian.PutUint64(dynamic[headerSize+programSize+32:], uint64(len(loader)))
	for file, want := range map[string]string{
		"#!/bin/sh\n":                  "/bin/sh",
		"#! \t/usr/bin/env -S node\nx": "/usr/bin/env",
		"#!/bin/bash\t-e\n":            "/bin/bash",
		"#!/no/newline":                "/no/newline",
		"#!\n":                         "",
		"plain text":                   "",
		string(dynamic) + loader:       "/lib64/ld-linux-x86-64.so.2",
		string(program(1)):             "",
	} {
		if got, _ := Interpreter(strings.NewReader(file)); got != want {
			t.Errorf("Interpreter(%.40q) = %q, want %q", file, got, want)
		}
	}
}

func FuzzCheckStatic(f *testing.F) {
	f.Add(program(1, ptInterp))
	f.Add([]byte("#!"))
	f.Fuzz(func(t *testing.T, file []byte) { _ = CheckStatic(bytes.NewReader(file)) })
}
