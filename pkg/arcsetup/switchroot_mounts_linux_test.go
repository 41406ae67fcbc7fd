//go:build guesttest

package arcsetup

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/arcinit/arcinit/internal/mounts"
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
	if err := deleteBelow(g.Root, ""); err != nil {
		t.Errorf("deleteBelow: %v", err)
	}
	left, _ := filepath.Glob(g.path("/*/*"))
	if want := []string{g.path("/other/mounted"), g.path("/same/below")}; !slices.Equal(left, want) {
		t.Errorf("left is %v, want %v", left, want)
	}
}

// TestRootTakesThePlaceOfTheInitramfs changes from one tmpfs to another, with and
// without modules that the new root lacks.
func TestRootTakesThePlaceOfTheInitramfs(t *testing.T) {
	for _, modules := range []bool{false, true} {
		g := newGuest(t, nil) // this test deletes its directory, from the old root
		t.Run(fmt.Sprintf("modules %v", modules), func(t *testing.T) {
			ownMounts(t)
			must := func(err error) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
			}
			must(unix.Mount("tmpfs", g.Root, "tmpfs", 0, ""))
			must(becomeRoot(g.Root)) // of this thread only
			g.Root = "/"
			for path, fsType := range map[string]string{"/proc": "proc", "/run": "tmpfs", newRoot: "tmpfs"} {
				must(os.Mkdir(path, 0o755))
				must(unix.Mount(fsType, path, fsType, 0, ""))
			}
			// A layer of the initramfs stays there.
			must(os.Mkdir("/var", 0o755))
			must(unix.Mount("tmpfs", "/var", "tmpfs", 0, ""))
			must(os.WriteFile("/var/file", nil, 0o644))
			layer, err := os.Open("/var")
			must(err)
			defer layer.Close() //nolint:errcheck // only read from
			files := []string{"/init", "/bin/uinit", "/run/kept", newRoot + "/new"}
			if modules {
				files = append(files, "/lib/modules/6/m.ko")
			}
			for _, path := range files {
				must(os.MkdirAll(filepath.Dir(path), 0o755))
				must(os.WriteFile(path, nil, 0o644))
			}
			old, err := os.Open("/")
			must(err)
			defer old.Close() //nolint:errcheck // only read from

			must(keepInitramfs())
			must(g.enterRoot(newRoot))
			must(freeInitramfs())
			for _, path := range []string{"/new", "/run/kept", "/proc/self/exe"} {
				if !g.exists(path) {
					t.Errorf("the new root has no %s", path)
				}
			}
			want := []string{"var"}
			if modules {
				want = []string{"lib", "var"}
			}
			left, err := old.Readdirnames(-1)
			if slices.Sort(left); err != nil || !slices.Equal(left, want) {
				t.Errorf("left in the initramfs: %v, %v, want %v", left, err, want)
			}
			if files, err := layer.Readdirnames(-1); err != nil || !slices.Equal(files, []string{"file"}) {
				t.Errorf("left in the layer: %v, %v", files, err)
			}
			for _, path := range []string{keptInitramfs, keptInitramfs + "/lib/modules/6/m.ko"} {
				if got := g.exists(path); got != modules {
					t.Errorf("%s is there: %v", path, got)
				}
			}
		})
	}
}

// TestRootWithoutDirectories stays on the initramfs, with all its mounts.
func TestRootWithoutDirectories(t *testing.T) {
	ownMounts(t)
	g := newGuest(t, map[string]string{"/proc/x": "", "/run/x": ""})
	for _, path := range []string{"/proc", "/run"} {
		if err := unix.Mount("tmpfs", g.path(path), "tmpfs", 0, ""); err != nil {
			t.Fatal(err)
		}
		defer unix.Unmount(g.path(path), unix.MNT_DETACH) //nolint:errcheck // the namespace goes too
	}
	dir := newGuest(t, map[string]string{"/run": "a file"}).Root
	if err := g.enterRoot(dir); err == nil {
		t.Error("a root whose /run is a file was accepted")
	}
	for _, path := range []string{"/proc", "/run"} {
		if !mounts.IsMountPoint(g.path(path)) {
			t.Errorf("the mount on %s is lost", path)
		}
	}
}
