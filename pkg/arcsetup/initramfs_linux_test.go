//go:build guesttest

package arcsetup

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

func TestDeleteBelowLeavesMounts(t *testing.T) {
	ownMounts(t)
	g := newGuest(t, map[string]string{"/same/below/x": "", "/other/x": ""})
	elsewhere := newGuest(t, map[string]string{"/below/mounted": ""}).Root
	for target, source := range map[string]string{"/other": "tmpfs", "/same": elsewhere} {
		var flags uintptr
		if target == "/same" { // the same file system, on another mount
			flags = unix.MS_BIND
		}
		if err := unix.Mount(source, g.path(target), "tmpfs", flags, ""); err != nil {
			t.Fatalf("mount %s on %s: %v", source, target, err)
		}
		defer unix.Unmount(g.path(target), unix.MNT_DETACH) //nolint:errcheck // the namespace goes too
	}
	if err := os.WriteFile(g.path("/other/mounted"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if empty, err := deleteBelow(g.Root, nil); err != nil || empty {
		t.Errorf("deleteBelow = %v, %v", empty, err)
	}
	left, _ := filepath.Glob(g.path("/*/*"))
	if want := []string{g.path("/other/mounted"), g.path("/same/below")}; !slices.Equal(left, want) {
		t.Errorf("left is %v, want %v", left, want)
	}
}
