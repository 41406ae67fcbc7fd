package arcsetup

import (
	"os"
	"strings"
	"testing"

	"github.com/arcinit/arcinit/pkg/arcsetup/plan"
	"golang.org/x/sys/unix"
)

func TestWriteFile(t *testing.T) {
	old := unix.Umask(0o077) // the mode does not depend on it
	defer unix.Umask(old)
	g := newGuest(t, nil)
	for _, tt := range []struct {
		text string
		mode os.FileMode
	}{{"one", 0o751}, {"two", 0o751}, {"two", 0o444}} {
		twice(t, func() (bool, error) { return g.writeFile("/a/b/file", tt.text, tt.mode) })
		if got := read(t, g, "/a/b/file"); got != tt.text {
			t.Errorf("the file holds %q, want %q", got, tt.text)
		}
		if st, err := os.Stat(g.path("/a/b/file")); err != nil || st.Mode().Perm() != tt.mode {
			t.Errorf("%v, %v, want mode %v", st, err, tt.mode)
		}
	}
	if entries, _ := os.ReadDir(g.path("/a/b")); len(entries) != 1 {
		t.Errorf("the directory has %v", entries)
	}
}

func TestWriteFileReplacesLink(t *testing.T) {
	g := newGuest(t, map[string]string{"/target": "kept"})
	if err := os.Symlink(g.path("/target"), g.path("/link")); err != nil {
		t.Fatal(err)
	}
	// A link that somebody else made for a predictable temporary file.
	if err := os.Symlink(g.path("/target"), g.path("/link.new")); err != nil {
		t.Fatal(err)
	}
	twice(t, func() (bool, error) { return g.writeFile("/link", "new", 0o644) })
	if got := read(t, g, "/target"); got != "kept" {
		t.Errorf("the link was followed: %q", got)
	}
	if st, err := os.Lstat(g.path("/link")); err != nil || !st.Mode().IsRegular() {
		t.Errorf("the link is %v, %v", st, err)
	}
}

func TestFailedWriteLeavesNothing(t *testing.T) {
	g := newGuest(t, map[string]string{"/dir/file/inside": ""}) // a directory in the file's place
	_, err := g.writeFile("/dir/file", "new", 0o644)
	if err == nil || !strings.Contains(err.Error(), g.path("/dir/file")) {
		t.Errorf("error %v, want the path in it", err)
	}
	if entries, _ := os.ReadDir(g.path("/dir")); len(entries) != 1 {
		t.Errorf("left behind: %v", entries)
	}
}

func TestSymlinkReplaces(t *testing.T) {
	g := newGuest(t, map[string]string{"/etc/file": "old"})
	if err := os.Symlink("nowhere", g.path("/etc/link")); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/etc/file", "/etc/link", "/new/dir/link"} {
		twice(t, func() (bool, error) { return g.symlink("/target", path) })
		if got, err := os.Readlink(g.path(path)); got != "/target" {
			t.Errorf("%s leads to %q, %v", path, got, err)
		}
	}
}

func TestExpediteRCU(t *testing.T) {
	g := newGuest(t, map[string]string{"/sys/kernel/rcu_expedited": "0\n"})
	twice(t, g.expediteRCU)
	if got := read(t, g, "/sys/kernel/rcu_expedited"); got != "1\n" {
		t.Errorf("rcu_expedited is %q", got)
	}
	if got := outcome(newGuest(t, nil).expediteRCU); got.Outcome != plan.Unavailable {
		t.Errorf("without the file: %+v", got)
	}
}
