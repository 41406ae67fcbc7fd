//go:build guesttest

package arcsetup

import (
	"errors"
	"os"
	"runtime"
	"testing"

	"github.com/arcinit/arcinit/internal/mounts"
	"golang.org/x/sys/unix"
)

// ownMounts gives the test a mount namespace of its own, which takes root: vmtests
// runs such tests in a guest.
func ownMounts(t *testing.T) {
	t.Helper()
	// The test never unlocks the thread, so the namespace ends with it.
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		t.Fatalf("new mount namespace: %v", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		t.Fatalf("make the mounts private: %v", err)
	}
}

// TestLayersOverLinks has a read-only root with links in place of directories that
// get a layer.
func TestLayersOverLinks(t *testing.T) {
	for name, links := range map[string]map[string]string{
		"none":                 {"/etc": "", "/var": "", "/tmp": "", "/run": ""},
		"into /private":        {"/etc": "private/etc", "/var": "private/var", "/tmp": "private/tmp", "/run": "private/run"},
		"into /var":            {"/etc": "var/etc", "/var": "", "/tmp": "var/tmp", "/run": "var/run"},
		"into /run, dangling":  {"/etc": "", "/var": "run/var", "/tmp": "run/none/tmp", "/run": ""},
		"one after the other":  {"/etc": "tmp/etc", "/var": "private/var", "/tmp": "var/tmp", "/run": "tmp/run"},
		"from below /private":  {"/etc": "private/etc", "/var": "", "/tmp": "private/link", "/run": ""},
		"/var into /tmp":       {"/etc": "var/etc", "/var": "tmp/var", "/tmp": "", "/run": ""},
		"/tmp into /run":       {"/etc": "", "/var": "", "/tmp": "run/tmp", "/run": "var/run"},
		"/var and /tmp in one": {"/etc": "", "/var": "private/var", "/tmp": "private/var/tmp", "/run": ""},
	} {
		t.Run(name, func(t *testing.T) {
			ownMounts(t)
			must := func(err error) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
			}
			program, err := os.Executable()
			must(err)
			g := &Guest{Root: t.TempDir(), Program: program}
			must(unix.Mount("tmpfs", g.Root, "tmpfs", 0, ""))
			defer unix.Unmount(g.Root, unix.MNT_DETACH) //nolint:errcheck // the namespace goes too
			must(errors.Join(os.Mkdir(g.path("/private"), 0o755), os.Mkdir(g.path("/proc"), 0o755)))
			must(os.Symlink("../tmp2", g.path("/private/link")))
			must(os.Mkdir(g.path("/tmp2"), 0o755))
			for path, target := range links {
				if target == "" {
					must(os.Mkdir(g.path(path), 0o755))
				} else {
					must(os.Symlink(target, g.path(path)))
				}
			}
			for _, path := range []string{"/var", "/tmp", "/run", "/etc"} {
				// Not what lies in a layer that is mounted before.
				if at, _, err := mounts.Resolve(g.Root, path); err != nil {
					t.Fatal(err)
				} else if name != "into /run, dangling" {
					must(os.MkdirAll(at, 0o755))
				}
			}
			must(os.WriteFile(g.path("/etc/image"), []byte("the image's"), 0o640))
			must(unix.Mount("proc", g.path("/proc"), "proc", 0, ""))
			must(unix.Mount("", g.Root, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""))

			step := func() (bool, error) {
				var r result
				r.add(g.run())
				r.add(g.layers())
				r.add(g.jailer())
				r.add(g.directories())
				return r.changed, r.err
			}
			if changed, err := step(); err != nil || !changed {
				t.Fatalf("first run: changed %v, error %v", changed, err)
			}
			before := read(t, &Guest{Root: "/"}, "/proc/thread-self/mountinfo")
			for path, mode := range map[string]os.FileMode{"/etc": 0o755, "/var": 0o755, "/tmp": 0o777 | os.ModeSticky, "/run": 0o755} {
				st, err := os.Stat(g.path(path))
				if err != nil || st.Mode()&^os.ModeDir != mode {
					t.Errorf("%s is %v, %v, want mode %v", path, st, err, mode)
				}
				if at, _, err := mounts.Resolve(g.Root, path); err != nil || !mounts.IsMountPoint(at) {
					t.Errorf("nothing is mounted on %s, which %s leads to; %v", at, path, err)
				}
				must(errors.Join(os.WriteFile(g.path(path+"/new"), nil, 0o644), os.Remove(g.path(path+"/new"))))
			}
			if got := read(t, g, "/etc/image"); got != "the image's" {
				t.Errorf("/etc/image holds %q", got)
			}
			if st, err := os.Stat(g.path(ProgramPath)); err != nil || st.Size() == 0 {
				t.Errorf("the program: %v, %v", st, err)
			}
			if changed, err := step(); err != nil || changed {
				t.Errorf("second run: changed %v, error %v", changed, err)
			}
			if again := read(t, &Guest{Root: "/"}, "/proc/thread-self/mountinfo"); again != before {
				t.Errorf("the second run changed the mounts from\n%s\nto\n%s", before, again)
			}
		})
	}
}

// TestShareOverLink mounts on what a link in a share's place leads to, once.
func TestShareOverLink(t *testing.T) {
	ownMounts(t)
	g := newGuest(t, map[string]string{"/mnt/x": ""})
	if err := os.Symlink("/mnt/share", g.path("/private")); err != nil {
		t.Fatal(err)
	}
	twice(t, func() (bool, error) { return tmpfs("/private", 0o755).Mount(g.Root) })
	defer unix.Unmount(g.path("/mnt/share"), unix.MNT_DETACH) //nolint:errcheck // the namespace goes too
	if !mounts.IsMountPoint(g.path("/mnt/share")) {
		t.Error("nothing is mounted on /mnt/share")
	}
}

// TestMissingMountPoint mounts where a directory is missing. Where there is nothing to mount, none is left, and one that
// was there stays.
func TestMissingMountPoint(t *testing.T) {
	ownMounts(t)
	g := newGuest(t, map[string]string{"/mnt/x": ""})
	if err := os.Mkdir(g.path("/there"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/missing", "/there"} {
		before := g.exists(path)
		absent := mounts.Point{Device: "no such share", Path: path, FSType: "virtiofs"}
		if changed, err := absent.Mount(g.Root); err == nil || changed || g.exists(path) != before {
			t.Errorf("on %s, there %v before and %v after: changed %v, error %v", path, before, g.exists(path), changed, err)
		}
	}
	for _, path := range []string{"/missing", "/there", "/none/of/these", "/mnt/one"} {
		twice(t, func() (bool, error) { return tmpfs(path, 0o755).Mount(g.Root) })
		if !mounts.IsMountPoint(g.path(path)) {
			t.Errorf("nothing is mounted on %s", path)
		}
		defer unix.Unmount(g.path(path), unix.MNT_DETACH) //nolint:errcheck // the namespace goes too
	}
}
