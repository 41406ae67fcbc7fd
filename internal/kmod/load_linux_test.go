package kmod

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestNothingToLoad has modules that are loaded, built in, or not there.
func TestNothingToLoad(t *testing.T) {
	root := t.TempDir()
	sys := filepath.Join(root, "sys")
	if _, err := Open(root, sys); !errors.Is(err, fs.ErrNotExist) {
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
	l, err := Open(root, sys)
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
