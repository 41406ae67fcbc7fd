package main

import (
	"os"
	"path/filepath"
	"testing"
)

// limited is a device that notes which lines came while the limit stood.
type limited struct {
	limit   string
	limited []string
}

func (l *limited) Write(line []byte) (int, error) {
	if text, _ := os.ReadFile(l.limit); string(text) != "on\n" {
		l.limited = append(l.limited, string(line))
	}
	return len(line), nil
}

// A line may be said between the mounts of /dev and /proc.
func TestKernelLogBeforeProc(t *testing.T) {
	kernel := filepath.Join(t.TempDir(), "kernel")
	device := &limited{limit: filepath.Join(kernel, "printk_devkmsg")}
	k := &kmsg{device: device, limit: device.limit}
	say := func(line string) {
		t.Helper()
		if n, err := k.Write([]byte(line)); n != len(line) || err != nil {
			t.Errorf("write %q: %d, %v", line, n, err)
		}
	}
	say("before")
	if err := os.Mkdir(kernel, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(device.limit, []byte("ratelimit\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	say("first")
	say("second")
	if len(device.limited) != 1 || device.limited[0] != "before" {
		t.Errorf("while the limit stood came %q, want the line before alone", device.limited)
	}
}

// A kernel that refuses is asked once.
func TestKernelLogLimitKept(t *testing.T) {
	refused := t.TempDir() // which cannot be written as a file
	k := &kmsg{device: &limited{limit: refused}, limit: refused}
	if _, err := k.Write([]byte("line")); err != nil {
		t.Error(err)
	}
	if !k.lifted {
		t.Error("the kernel is to be asked again, which refused")
	}
}
