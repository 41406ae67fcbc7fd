package arcsetup

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/arcinit/arcinit/internal/binfmt"
	"github.com/arcinit/arcinit/pkg/arcsetup/config"
	"github.com/arcinit/arcinit/pkg/arcsetup/plan"
)

// entryOf is what the kernel says of a handler.
func entryOf(h *binfmt.Handler, state, flags string) string {
	return fmt.Sprintf("%s\ninterpreter %s\nflags: %s\noffset 0\nmagic %x\nmask %x\n", state, h.Interpreter, flags, h.Magic, h.Mask)
}

func TestWriteEntry(t *testing.T) {
	h := rosettaHandler("/media/rosetta")
	other := rosettaHandler("/media/rosetta")
	other.Interpreter = "/other"
	for _, tt := range []struct {
		name                  string
		status, entry         string
		wantStatus, wantEntry string
		wantRegister          bool
	}{
		{name: "not there", status: "enabled\n", wantStatus: "enabled\n", wantRegister: true},
		{name: "there", status: "enabled\n", entry: entryOf(h, "enabled", "OCF"), wantStatus: "enabled\n", wantEntry: entryOf(h, "enabled", "OCF")},
		{name: "there, disabled", status: "enabled\n", entry: entryOf(h, "disabled", "OCF"), wantStatus: "enabled\n", wantEntry: "1"},
		{name: "all disabled", status: "disabled\n", entry: entryOf(h, "enabled", "OCF"), wantStatus: "1", wantEntry: entryOf(h, "enabled", "OCF")},
		{name: "another interpreter", status: "enabled\n", entry: entryOf(other, "enabled", "OCF"), wantStatus: "enabled\n", wantEntry: "-1", wantRegister: true},
		{name: "other flags", status: "enabled\n", entry: entryOf(h, "enabled", "OC"), wantStatus: "enabled\n", wantEntry: "-1", wantRegister: true},
		{name: "unintelligible", status: "enabled\n", entry: "extension .x\n", wantStatus: "enabled\n", wantEntry: "-1", wantRegister: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			files := map[string]string{binfmtPath("status"): tt.status, binfmtPath("register"): ""}
			if tt.entry != "" {
				files[binfmtPath(h.Name)] = tt.entry
			}
			g := newGuest(t, files)
			changed, err := g.writeEntry(h)
			if wantChanged := tt.name != "there"; err != nil || changed != wantChanged {
				t.Errorf("changed %v, %v", changed, err)
			}
			want := map[string]string{"status": tt.wantStatus, "register": "", h.Name: tt.wantEntry}
			if tt.wantRegister {
				want["register"] = h.Registration()
			}
			for file, text := range want {
				if got, err := g.readFile(binfmtPath(file)); err != nil || got != text {
					t.Errorf("%s holds %q, want %q; %v", file, got, text, err)
				}
			}
		})
	}
}

// TestHandlersRefused has handlers that must not even reach the kernel.
func TestHandlersRefused(t *testing.T) {
	script := "#!/bin/sh\n" + strings.Repeat("#\n", 100)
	own := func(m binfmt.Machine) *binfmt.Handler {
		h := &binfmt.Handler{Name: "own", Interpreter: "/script"}
		h.Magic, h.Mask = binfmt.Program(m)
		return h
	}
	for _, tt := range []struct {
		name, arch string
		h          *binfmt.Handler
	}{
		{"x86-64 programs on amd64", "amd64", own(binfmt.X8664)},
		{"arm64 programs on arm64", "arm64", own(binfmt.AArch64)},
		{"interpreter missing", "amd64", &binfmt.Handler{Name: "x", Interpreter: "/none", Magic: []byte("x"), Flags: "F"}},
		{"interpreter is a directory", "amd64", &binfmt.Handler{Name: "x", Interpreter: "/", Magic: []byte("x"), Flags: "F"}},
		{"interpreter is a script", "amd64", &binfmt.Handler{Name: "x", Interpreter: "/script", Magic: []byte("x"), Flags: "F"}},
	} {
		g := newGuest(t, map[string]string{"/script": script})
		g.Arch = tt.arch
		changed, err := g.register(tt.h)
		if changed || err == nil || !strings.Contains(err.Error(), " "+tt.h.Name+": ") {
			t.Errorf("%s: %v, %v; want an error that names the handler", tt.name, changed, err)
		}
		if missing := tt.h.Interpreter == "/none"; errors.Is(err, os.ErrNotExist) != missing {
			t.Errorf("%s: %v", tt.name, err)
		}
		if _, err := os.Stat(g.path("/proc")); err == nil {
			t.Errorf("%s: binfmt_misc was made", tt.name)
		}
	}
}

// checkConfig returns the errors of a configuration file.
func checkConfig(text string) error {
	_, err := config.Load(nil, func(string) ([]byte, error) { return []byte(text), nil })
	return err
}

// TestOwnHandlers keeps the names of arcinit's own handlers out of arcinit.toml.
func TestOwnHandlers(t *testing.T) {
	for _, h := range []*binfmt.Handler{rosettaHandler("/media/rosetta"), fexHandler()} {
		if err := h.Check(); err != nil {
			t.Error(err)
		}
		text := fmt.Sprintf("[[binfmt]]\nname = %q\ninterpreter = \"/x\"\nmagic = \"x\"\n", h.Name)
		if err := checkConfig(text); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("(%s)", h.Name)) {
			t.Errorf("%s in arcinit.toml: %v", h.Name, err)
		}
	}
}

func TestRosettaIsForARM(t *testing.T) {
	g := newGuest(t, map[string]string{"/arcbox/runtime/bin/FEX": "", "/media/rosetta/rosetta": ""})
	g.Arch = "amd64"
	for name, step := range map[string]plan.Func{"rosetta": g.rosetta, "binfmt": g.binfmt} {
		if got := outcome(step); got.Outcome != plan.Unavailable {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
