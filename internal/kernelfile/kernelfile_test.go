package kernelfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestValues(t *testing.T) {
	path := filepath.Join(t.TempDir(), "value")
	if _, err := Read(path); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), path) {
		t.Errorf("read a missing file: %v", err)
	}
	if err := Write(path, "1"); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), path) {
		t.Errorf("write a missing file: %v", err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, value := range []string{strings.Repeat("long ", 1<<10) + "end", strings.Repeat("page", 256), "short", ""} {
		err := Write(path, value+"\n")
		if got, errRead := Read(path); err != nil || errRead != nil || got != value {
			t.Errorf("wrote %d bytes, %v; read %d, %v", len(value), err, len(got), errRead)
		}
	}
}

func TestKernel(t *testing.T) {
	want, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Read("/proc/sys/kernel/osrelease"); err != nil || got+"\n" != string(want) {
		t.Errorf("the kernel's release is %q, %v, want %q", got, err, want)
	}
}
