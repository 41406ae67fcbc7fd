package arcsetup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/arcinit/arcinit/pkg/arcsetup/plan"
	"golang.org/x/sys/unix"
)

// cachesPath has a directory for each cache of the first processor
// (Documentation/ABI/testing/sysfs-devices-system-cpu), filledCaches those that
// stand in for them.
const (
	cachesPath   = "/sys/devices/system/cpu/cpu0/cache"
	filledCaches = "/run/arcbox/cache"
)

// cache fills in what the kernel does not know of the processor's caches: on
// arm64 only the firmware could tell it. Firecracker's jailer gives up where it
// cannot read these, whatever their values.
func (g *Guest) cache() (changed bool, err error) {
	dirs, _ := filepath.Glob(g.path(cachesPath + "/index*"))
	if len(dirs) == 0 {
		return false, plan.Absent(errors.New("the kernel says nothing of CPU caches"))
	}
	for _, dir := range dirs {
		missing := missingAttributes(dir)
		if len(missing) == 0 {
			continue
		}
		c, e := g.fillCache(dir, missing)
		changed, err = changed || c, errors.Join(err, e)
	}
	return changed, err
}

type attribute struct{ name, value string }

// missingAttributes lists those that the cache with this directory should have
// and has not.
func missingAttributes(dir string) (missing []attribute) {
	size, sets := "8192K", "8192"
	switch filepath.Base(dir) {
	case "index0", "index1": // data and instructions
		size, sets = "64K", "256"
	case "index2":
		size, sets = "1024K", "2048"
	}
	for _, a := range []attribute{{"size", size}, {"coherency_line_size", "64"}, {"number_of_sets", sets}} {
		if _, err := os.Lstat(dir + "/" + a.name); errors.Is(err, os.ErrNotExist) {
			missing = append(missing, attribute{a.name, a.value + "\n"})
		}
	}
	return missing
}

// fillCache covers the directory of a cache with one that has the missing
// attributes beside its own. No file can be made in the directory itself.
func (g *Guest) fillCache(dir string, missing []attribute) (changed bool, err error) {
	filled := filledCaches + "/" + filepath.Base(dir)
	attributes, err := readAttributes(dir)
	for _, a := range append(attributes, missing...) {
		c, e := g.replaceFile(filled+"/"+a.name, a.value, 0o444)
		changed, err = changed || c, errors.Join(err, e)
	}
	if isMountPoint(dir) {
		return changed, err
	}
	if e := unix.Mount(g.path(filled), dir, "", unix.MS_BIND, ""); e != nil {
		return changed, errors.Join(err, fmt.Errorf("bind %s to %s: %w", filled, dir, e))
	}
	return true, err
}

// readAttributes reads the attributes of a device as they are now: its files,
// since links and directories lead elsewhere. One that cannot be read is left out
// with a warning.
func readAttributes(dir string) (attributes []attribute, err error) {
	entries, err := os.ReadDir(dir)
	for _, entry := range entries {
		info, e := entry.Info()
		if e != nil || !info.Mode().IsRegular() || info.Mode()&0o444 == 0 {
			continue
		}
		value, e := os.ReadFile(dir + "/" + entry.Name())
		if e != nil {
			err = errors.Join(err, plan.Fallback(e))
			continue
		}
		attributes = append(attributes, attribute{entry.Name(), string(value)})
	}
	return attributes, err
}
