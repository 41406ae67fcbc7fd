package regular

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

const limit = 64 << 10

// plant puts something in the place of path: its kind, or for "link:..." a link.
func plant(t *testing.T, kind, path string) {
	t.Helper()
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	target, isLink := strings.CutPrefix(kind, "link:")
	switch {
	case err != nil:
	case isLink:
		err = os.Symlink(target, path)
	case kind == "file":
		err = os.WriteFile(path, []byte("planted"), 0o644)
	case kind == "large file":
		if err = os.WriteFile(path, nil, 0o644); err == nil {
			err = os.Truncate(path, 1<<30)
		}
	case kind == "directory":
		err = os.MkdirAll(filepath.Join(path, "full"), 0o755)
	case kind == "FIFO":
		err = unix.Mkfifo(path, 0o644)
	case kind == "socket":
		err = unix.Mknod(path, unix.S_IFSOCK|0o644, 0)
	case kind == "device":
		if err = unix.Mknod(path, unix.S_IFCHR|0o644, int(unix.Mkdev(1, 3))); errors.Is(err, unix.EPERM) {
			t.Skip("only root makes devices")
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

// guest returns a root with a file outside of the share, and the means to see whether it was followed to.
func guest(t *testing.T) (root string) {
	t.Helper()
	root = t.TempDir()
	plant(t, "file", filepath.Join(root, "etc/passwd"))
	plant(t, "directory", filepath.Join(root, "arcbox"))
	t.Cleanup(func() {
		if text, err := os.ReadFile(filepath.Join(root, "etc/passwd")); err != nil || string(text) != "planted" {
			t.Errorf("the guest's file is %q, %v", text, err)
		}
		if files, err := os.ReadDir(filepath.Join(root, "etc")); err != nil || len(files) != 1 {
			t.Errorf("the guest's directory has %v, %v", files, err)
		}
	})
	return root
}

// in returns an error unless err has the path and text in it, and nothing of how the file was reached.
func in(t *testing.T, err error, path, text string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), path+": ") || !strings.Contains(err.Error(), text) || strings.Contains(err.Error(), "/proc/") {
		t.Errorf("error %v, want %s and %q in it", err, path, text)
	}
}

const (
	file = Share + "/log/boot.json"
	dir  = Share + "/log"
)

func TestPlanted(t *testing.T) {
	for _, tt := range []struct {
		kind, path string
		read       string // in the error of Read
		write      string // of Write; empty if it replaces what is there
	}{
		{"directory", file, "a directory", "is a directory"},
		{"FIFO", file, "a FIFO", ""},
		{"socket", file, "a socket", ""},
		{"device", file, "a device", ""},
		{"large file", file, "more than", ""},
		{"link:/etc/passwd", file, "a symbolic link", ""},
		{"link:../../etc/passwd", file, "a symbolic link", ""},
		{"link:other", file, "a symbolic link", ""},
		{"link:boot.json", file, "a symbolic link", ""},
		{"link:/etc", dir, "log is a symbolic link, not a directory", "log is a symbolic link, not a directory"},
		{"link:../etc", dir, "log is a symbolic link", "log is a symbolic link"},
		{"link:.", dir, "log is a symbolic link", "log is a symbolic link"},
		{"FIFO", dir, "log is a FIFO", "log is a FIFO"},
		{"device", dir, "log is a device", "log is a device"},
		{"large file", dir, "log is a regular file", "log is a regular file"},
	} {
		t.Run(tt.kind+" as "+filepath.Base(tt.path), func(t *testing.T) {
			root := guest(t)
			plant(t, tt.kind, filepath.Join(root, tt.path))
			data, err := Read(root, file, limit, nil)
			in(t, err, filepath.Join(root, file), tt.read)
			if len(data) > 0 {
				t.Errorf("Read returned %d bytes", len(data))
			}
			// A log moves what is there out of its way.
			errAppend := Append(root, file, []byte("new"), limit)
			if tt.path == dir {
				in(t, errAppend, filepath.Join(root, file), tt.write)
			} else if errAppend != nil {
				t.Error(errAppend)
			}
			if tt.path == file { // back to its place
				if err := os.Remove(filepath.Join(root, file)); err != nil {
					t.Fatal(err)
				}
				if err := os.Rename(filepath.Join(root, file+".1"), filepath.Join(root, file)); err != nil {
					t.Fatal(err)
				}
			}
			changed, err := Write(root, file, []byte("new"), 0o600)
			if tt.write != "" {
				in(t, err, filepath.Join(root, file), tt.write)
				return
			}
			text, errRead := Read(root, file, limit, nil)
			if err != nil || !changed || errRead != nil || string(text) != "new" {
				t.Errorf("Write = %v, %v; the file is %q, %v", changed, err, text, errRead)
			}
			if files, _ := os.ReadDir(filepath.Join(root, dir)); len(files) != 1 {
				t.Errorf("left behind: %v", files)
			}
		})
	}
}

// TestLogCannotRotate has a directory in the place of the previous log.
func TestLogCannotRotate(t *testing.T) {
	for _, tt := range []struct{ kind, err string }{
		{"file", "boot.json.1: "}, {"FIFO", "a FIFO"}, {"device", "a device"}, {"link:/etc/passwd", "a symbolic link"}, {"directory", "a directory"},
	} {
		t.Run(tt.kind, func(t *testing.T) {
			root := guest(t)
			plant(t, tt.kind, filepath.Join(root, file))
			plant(t, "directory", filepath.Join(root, file+".1"))
			in(t, Append(root, file, []byte(" new"), 0), filepath.Join(root, file), tt.err)
			if text, _ := Read(root, file, limit, nil); tt.kind == "file" && string(text) != "planted new" {
				t.Errorf("the file is %q", text)
			}
		})
	}
}

func TestAppendRotates(t *testing.T) {
	root := guest(t)
	plant(t, "link:/etc/passwd", filepath.Join(root, file+".1"))
	for _, text := range []string{"one", "two", "three"} {
		if err := Append(root, file, []byte(text), 6); err != nil {
			t.Fatal(err)
		}
	}
	now, err := Read(root, file, limit, nil)
	before, errBefore := Read(root, file+".1", limit, nil)
	if string(now) != "three" || string(before) != "onetwo" {
		t.Errorf("the files are %q, %v and %q, %v", now, err, before, errBefore)
	}
}

func TestMissing(t *testing.T) {
	root := guest(t)
	for _, path := range []string{file, "/etc/none", "/none/none"} {
		if _, err := Read(root, path, limit, nil); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: error %v", path, err)
		}
	}
	if _, err := os.Lstat(filepath.Join(root, dir)); err == nil {
		t.Error("Read made a directory")
	}
	for _, path := range []string{Share + "/file", Share + "/a/b/file", "/a/b/file"} {
		for _, want := range []bool{true, false} {
			if changed, err := Write(root, path, []byte("new"), 0o751); changed != want || err != nil {
				t.Errorf("write %s: %v, %v, want %v", path, changed, err, want)
			}
		}
		text, err := Read(root, path, 3, nil)
		if st, errStat := os.Stat(filepath.Join(root, path)); string(text) != "new" || errStat != nil || st.Mode() != 0o751 {
			t.Errorf("%s is %q, %v, %v", path, text, err, st)
		}
	}
}

// TestPaths names files by paths that lead out of the share, or seem to be on it.
func TestPaths(t *testing.T) {
	root := guest(t)
	plant(t, "link:../etc", filepath.Join(root, "arcbox/etc"))
	plant(t, "link:../etc", filepath.Join(root, "arcbox2/etc"))
	for path, want := range map[string]bool{
		Share + "/../etc/passwd":       true, // the guest's own file
		Share + "/etc/../etc/passwd":   false,
		"/etc/.." + Share + "//passwd": false,
		Share + "2/etc/passwd":         true, // a link of the guest
	} {
		if text, err := Read(root, path, limit, nil); (string(text) == "planted") != want {
			t.Errorf("%s holds %q, %v", path, text, err)
		}
	}
}

// TestGuestsOwnLinks has links of the guest to the share, and to its own files.
func TestGuestsOwnLinks(t *testing.T) {
	root := guest(t)
	if err := os.RemoveAll(filepath.Join(root, Share)); err != nil {
		t.Fatal(err)
	}
	plant(t, "file", filepath.Join(root, "mnt/share/etc/arcinit.toml"))
	plant(t, "link:mnt/share", filepath.Join(root, Share))
	plant(t, "link:../etc/passwd", filepath.Join(root, "run/link"))
	plant(t, "FIFO", filepath.Join(root, "run/fifo"))
	plant(t, "link:fifo", filepath.Join(root, "run/link-to-fifo"))
	for _, path := range []string{Share + "/etc/arcinit.toml", "/run/link"} {
		if text, err := Read(root, path, limit, nil); string(text) != "planted" {
			t.Errorf("%s holds %q, %v", path, text, err)
		}
	}
	for _, path := range []string{"/run/fifo", "/run/link-to-fifo"} {
		_, err := Read(root, path, limit, nil)
		in(t, err, filepath.Join(root, path), "a FIFO")
	}
	if _, err := Write(root, "/run/link", []byte("new"), 0o644); err != nil {
		t.Error(err)
	}
}
