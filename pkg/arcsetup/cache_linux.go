package arcsetup

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/arcinit/arcinit/internal/mounts"
	"github.com/arcinit/arcinit/pkg/arcsetup/plan"
	"github.com/u-root/u-root/pkg/mount"
	"golang.org/x/sys/unix"
)

// cachesPath has a directory for each cache of the first processor (Documentation/ABI/
// testing/sysfs-devices-system-cpu), filledCaches those that are mounted over them.
const (
	cachesPath   = "/sys/devices/system/cpu/cpu0/cache"
	filledCaches = "/run/arcbox/cache"
)

// cache adds the attributes of the processor's caches that the kernel does not know (on
// arm64 only the firmware could tell): Firecracker's jailer reads them, whatever their values.
func (g *Guest) cache() (bool, error) {
	dirs, _ := filepath.Glob(g.path(cachesPath + "/index*"))
	if len(dirs) == 0 {
		return false, plan.Absent(errors.New("the kernel does not describe CPU caches"))
	}
	var r result
	for _, dir := range dirs {
		if missing := missingAttributes(dir); len(missing) > 0 {
			r.add(g.fillCache(dir, missing))
		}
	}
	return r.changed, r.err
}

type attribute struct{ name, value string }

// missingAttributes returns values for the attributes that the cache with this directory lacks.
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

// fillCache mounts a directory with the cache's own attributes and the missing ones
// over the cache's directory, where the kernel lets nobody make a file.
func (g *Guest) fillCache(dir string, missing []attribute) (bool, error) {
	var r result
	filled := g.path(filledCaches + "/" + filepath.Base(dir))
	attributes, err := readAttributes(dir)
	r.add(false, errors.Join(err, os.MkdirAll(filled, 0o755)))
	for _, a := range append(attributes, missing...) {
		r.add(true, os.WriteFile(filled+"/"+a.name, []byte(a.value), 0o444))
	}
	if !mounts.IsMountPoint(dir) {
		_, err := mount.Mount(filled, dir, "", "", unix.MS_BIND)
		r.add(err == nil, err)
	}
	return r.changed, r.err
}

// readAttributes reads the regular files in a device's directory. It returns the error of a file that cannot be read as a warning.
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
