package kmod

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestNothingToLoad has modules that are loaded, built in, or not there.
func TestNothingToLoad(t *testing.T) {
	root := t.TempDir()
	sys := filepath.Join(root, "sys")
	if _, err := Open(root, sys, nil, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without modules, Open: %v", err)
	}
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(root, "lib/modules", unix.ByteSliceToString(uts.Release[:]))
	for file, text := range map[string]string{
		filepath.Join(dir, "modules.dep"):              "kernel/fs/live-fs.ko: kernel/lib/lib.ko\nkernel/lib/lib.ko:\n",
		filepath.Join(dir, "modules.alias"):            "alias fs-live live_fs\nalias pci:v1 unknown\n",
		filepath.Join(dir, "modules.builtin"):          "kernel/fs/own-fs.ko\nkernel/fs/last.ko\n",
		filepath.Join(sys, "module/live_fs/initstate"): "live\n",
	} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	l, err := Open(root, sys, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]error{
		"live-fs": nil, "fs-live": nil, "own-fs": nil, "last": nil,
		"other": ErrNone, "pci:v1": ErrNone, "pci:v2": ErrNone, "lib": fs.ErrNotExist,
	} {
		if changed, err := l.Load(name); changed || !errors.Is(err, want) {
			t.Errorf("Load(%s) = %v, %v, want %v", name, changed, err, want)
		}
	}
}

// TestCommandLineRefuses has a module that is refused, and one that needs it.
func TestCommandLineRefuses(t *testing.T) {
	l := Loader{dir: t.TempDir(), sys: t.TempDir(), files: map[string][]string{}, refused: []string{"b_c"}}
	l.addFiles("kernel/a.ko: kernel/b-c.ko")
	l.addFiles("kernel/b-c.ko:")
	for _, name := range []string{"a", "b-c"} {
		if changed, err := l.Load(name); changed || !errors.Is(err, ErrNone) || !strings.Contains(err.Error(), "b_c") {
			t.Errorf("Load(%s) = %v, %v", name, changed, err)
		}
	}
}

// TestCompression has modules that the kernel cannot unpack, and some that it can.
func TestCompression(t *testing.T) {
	l := Loader{sys: t.TempDir(), files: map[string][]string{}}
	l.addFiles("kernel/a.ko.xz:")
	if err := l.checkCompression(); err == nil || !strings.Contains(err.Error(), "a.ko.xz") {
		t.Errorf("without CONFIG_MODULE_DECOMPRESS: %v", err)
	}
	if err := os.Mkdir(l.sys+"/module", 0o755); err != nil {
		t.Fatal(err)
	}
	for can, ok := range map[string]bool{"xz": true, "zstd": false} {
		if err := os.WriteFile(l.sys+"/module/compression", []byte(can+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := l.checkCompression(); (err == nil) != ok {
			t.Errorf("with %s: %v", can, err)
		}
	}
}

func TestNodes(t *testing.T) {
	l := Loader{dir: t.TempDir()}
	const index = "# Device nodes\ntun net/tun c10:200\nloop loop0 b7:0\nbad node x1:2\nbad node c1\nbad node c\n"
	if err := os.WriteFile(l.dir+"/modules.devname", []byte(index), 0o644); err != nil {
		t.Fatal(err)
	}
	want := []Node{{"net/tun", unix.S_IFCHR | 0o600, 10<<8 | 200}, {"loop0", unix.S_IFBLK | 0o600, 7 << 8}}
	if got := l.Nodes(); !slices.Equal(got, want) {
		t.Errorf("Nodes = %+v, want %+v", got, want)
	}
}
