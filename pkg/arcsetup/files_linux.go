package arcsetup

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/arcinit/arcinit/internal/wholefile"
)

// writeFile makes the file path, mode 0644, hold text and nothing else.
func (g *Guest) writeFile(path, text string) (changed bool, err error) {
	return g.replaceFile(path, text, 0o644)
}

// replaceFile makes the file path have this mode and hold text and nothing else;
// a file that does is left alone. A link in its place is replaced, not followed.
func (g *Guest) replaceFile(path, text string, mode os.FileMode) (changed bool, err error) {
	path = g.path(path)
	if st, err := os.Lstat(path); err == nil && st.Mode().IsRegular() && st.Mode().Perm() == mode {
		if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, []byte(text)) {
			return false, nil
		}
	}
	return true, wholefile.Write(path, []byte(text), mode)
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (g *Guest) exists(path string) bool {
	_, err := os.Stat(g.path(path))
	return err == nil
}

// readFile reads a file of the guest; one that is not there is empty.
func (g *Guest) readFile(path string) (string, error) {
	text, err := os.ReadFile(g.path(path))
	return string(text), ignoreMissing(err)
}

// symlink makes path a link to target.
func (g *Guest) symlink(target, path string) (changed bool, err error) {
	path = g.path(path)
	if old, err := os.Readlink(path); err == nil && old == target {
		return false, nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return false, fmt.Errorf("link %s: %w", path, err)
	}
	if err := ignoreMissing(os.Remove(path)); err != nil {
		return false, fmt.Errorf("link %s: %w", path, err)
	}
	return true, os.Symlink(target, path)
}

// mkdir makes the directory path and what is missing above it.
func (g *Guest) mkdir(path string) (changed bool, err error) {
	path = g.path(path)
	if st, err := os.Stat(path); err == nil && st.IsDir() {
		return false, nil
	}
	return true, os.MkdirAll(path, 0o755)
}

// setSysctl gives the kernel parameter with this path below /proc/sys a value.
func (g *Guest) setSysctl(name, value string) (changed bool, err error) {
	path := g.path("/proc/sys/" + name)
	old, err := os.ReadFile(path)
	if err != nil {
		return false, fmt.Errorf("sysctl %s: %w", name, err)
	}
	if strings.TrimSpace(string(old)) == value {
		return false, nil
	}
	if err := os.WriteFile(path, []byte(value+"\n"), 0o644); err != nil {
		return false, fmt.Errorf("sysctl %s = %s: %w", name, value, err)
	}
	return true, nil
}

// raiseSysctl writes value where the parameter is lower.
func (g *Guest) raiseSysctl(name string, value uint64) (changed bool, err error) {
	old, err := os.ReadFile(g.path("/proc/sys/" + name))
	if err != nil {
		return false, fmt.Errorf("sysctl %s: %w", name, err)
	}
	if n, err := strconv.ParseUint(strings.TrimSpace(string(old)), 10, 64); err == nil && n >= value {
		return false, nil
	}
	return g.setSysctl(name, strconv.FormatUint(value, 10))
}
