package mounts

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestResolve has links like those of a read-only root in place of mount points.
func TestResolve(t *testing.T) {
	root := t.TempDir()
	for _, dir := range []string{"/dir", "/run", "/a/b"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for path, target := range map[string]string{
		"/tmp": "var/tmp", "/etc": "/dir", "/var": "../run/var", "/media": "/a/b", "/loop": "/loop2", "/loop2": "loop", "/up": "/media/../c",
	} {
		if err := os.Symlink(target, filepath.Join(root, path)); err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string]string{
		"/dir":           "/dir",
		"/none/below":    "/none/below",
		"/etc":           "/dir",
		"/tmp":           "/run/var/tmp", // by way of /var; nothing is there
		"/media/rosetta": "/a/b/rosetta",
		"/up/here":       "/a/c/here",
	} {
		if got, _, err := Resolve(root, path); err != nil || got != filepath.Join(root, want) {
			t.Errorf("Resolve(%s) = %s, %v, want %s", path, got, err, filepath.Join(root, want))
		}
	}
	if got, _, err := Resolve(root, "/loop"); !errors.Is(err, unix.ELOOP) || !strings.Contains(err.Error(), "/loop") {
		t.Errorf("a loop: %s, %v", got, err)
	}
}
