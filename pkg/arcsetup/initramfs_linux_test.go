//go:build guesttest

package arcsetup

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// TestDeleteBelowLeavesMounts mounts, which takes root: vmtests runs it in a guest.
func TestDeleteBelowLeavesMounts(t *testing.T) {
	// The thread is never given back, and with it goes the name space.
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		t.Fatalf("new mount namespace: %v", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		t.Fatalf("make the mounts private: %v", err)
	}
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
		defer unix.Unmount(g.path(target), unix.MNT_DETACH) //nolint:errcheck // the name space goes too
	}
	if err := os.WriteFile(g.path("/other/mounted"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	dir, err := os.Open(g.Root)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close() //nolint:errcheck // only read from
	if empty, err := deleteBelow(dir, unix.Stat_t{}); err != nil || empty {
		t.Errorf("deleteBelow = %v, %v", empty, err)
	}
	left, _ := filepath.Glob(g.path("/*/*"))
	if want := []string{g.path("/other/mounted"), g.path("/same/below")}; !slices.Equal(left, want) {
		t.Errorf("left is %v, want %v", left, want)
	}
}
