package arcsetup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/arcinit/arcinit/internal/kernelfile"
	"github.com/arcinit/arcinit/internal/regular"
)

// result joins the results of a step's parts: each part runs, even if one before it failed.
type result struct {
	changed bool
	err     error
}

func (r *result) add(changed bool, err error) {
	r.changed, r.err = r.changed || changed, errors.Join(r.err, err)
}

// writeFile gives the file path this text and mode, unless it has them (regular.Write).
func (g *Guest) writeFile(path, text string, mode os.FileMode) (changed bool, err error) {
	return regular.Write(g.Root, path, []byte(text), mode)
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

// maxFile bounds the files of the guest that are read, in bytes.
const maxFile = 16 << 20

// readFile reads a file of the guest. A missing file is empty.
func (g *Guest) readFile(path string) (string, error) {
	text, err := regular.Read(g.Root, path, maxFile, nil)
	return string(text), ignoreMissing(err)
}

// symlink makes path a link to target, in place of any other file there.
func (g *Guest) symlink(target, path string) (changed bool, err error) {
	path = g.path(path)
	if os.Symlink(target, path) == nil {
		return true, nil
	}
	if old, err := os.Readlink(path); err == nil && old == target {
		return false, nil
	}
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), ignoreMissing(os.Remove(path))); err != nil {
		return false, fmt.Errorf("link %s: %w", path, err)
	}
	return true, os.Symlink(target, path)
}

// setValue writes value to a file of /proc/sys or /sys, unless it has this value.
func (g *Guest) setValue(path, value string) (changed bool, err error) {
	path = g.path(path)
	old, err := kernelfile.Read(path)
	if err != nil || old == value {
		return false, err
	}
	if err := kernelfile.Write(path, value+"\n"); err != nil {
		return false, fmt.Errorf("set to %s: %w", value, err)
	}
	return true, nil
}

// setSysctl sets the kernel parameter with this path below /proc/sys.
func (g *Guest) setSysctl(name, value string) (changed bool, err error) {
	changed, err = g.setValue("/proc/sys/"+name, value)
	if err != nil {
		err = fmt.Errorf("sysctl %s: %w", name, err)
	}
	return changed, err
}

// raiseSysctl sets a numeric kernel parameter, unless it is at least this value.
func (g *Guest) raiseSysctl(name string, value uint64) (changed bool, err error) {
	text, _ := kernelfile.Read(g.path("/proc/sys/" + name)) // without a file, setSysctl fails
	if old, err := strconv.ParseUint(text, 10, 64); err == nil && old >= value {
		return false, nil
	}
	return g.setSysctl(name, strconv.FormatUint(value, 10))
}
