package arcsetup

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/arcinit/arcinit/internal/disks"
	"github.com/arcinit/arcinit/internal/mounts"
	"github.com/arcinit/arcinit/pkg/arcsetup/config"
	"github.com/arcinit/arcinit/pkg/arcsetup/plan"
	"github.com/u-root/u-root/pkg/mount"
	"golang.org/x/sys/unix"
)

// mountDisks mounts the configured disks, one after the other: a disk may be mounted on another.
func (g *Guest) mountDisks() (bool, error) {
	r := result{}
	for _, d := range g.Config().Disks {
		changed, err := g.mountDisk(d)
		r.add(changed, explainAbsence("disk "+d.Device, d.Optional, err))
	}
	if g.Config().Disks == nil {
		r.err = plan.Absent(errors.New("none configured"))
	}
	return r.changed, r.err
}

// explainAbsence adds what could not be mounted to an error. If it is optional and not there, that is no failure.
func explainAbsence(what string, optional bool, err error) error {
	if err == nil {
		return nil
	}
	absent := optional && errors.Is(err, disks.ErrNotThere)
	if err = fmt.Errorf("%s: %w", what, err); absent {
		err = plan.Absent(err)
	}
	return err
}

// disksLimit is the limit of the step disks. Programs that check or make a file system have a minute.
func (g *Guest) disksLimit() time.Duration {
	limit := plan.DefaultLimit
	for _, d := range g.Config().Disks {
		limit += d.Wait + time.Minute
	}
	return limit
}

// diskPath returns where a disk is mounted.
func diskPath(d config.Disk) string {
	return cmp.Or(d.Path, RunDir+"/disks/"+strings.NewReplacer("/", "-", "=", "-").Replace(d.Device))
}

// mountDisk waits for a disk, mounts it, and mounts its directories elsewhere. A missing directory is made.
func (g *Guest) mountDisk(d config.Disk) (changed bool, err error) {
	dir, mounted, err := mounts.Resolve(g.Root, diskPath(d))
	if err == nil && !mounted {
		err = g.await("disk "+d.Device, d.Wait, func() error {
			device, err := disks.Find(g.Root, d.Device)
			if err != nil {
				return fmt.Errorf("%w; %s", err, disks.Describe(g.Root))
			}
			return g.mountDevice(d, device, dir)
		})
	}
	if err != nil {
		return false, err
	}
	r := result{changed: !mounted}
	for _, path := range slices.Sorted(maps.Keys(d.Directories)) {
		from, _, errFrom := mounts.Resolve(dir, d.Directories[path]) // no link leads out of the disk
		to, mounted, errTo := mounts.Resolve(g.Root, path)
		if err := errors.Join(errFrom, errTo); err == nil && !mounted {
			if err = errors.Join(os.MkdirAll(from, 0o755), g.makeMountPoint(to)); err == nil {
				_, err = mount.Mount(from, to, "", "", unix.MS_BIND)
			}
			r.add(err == nil, err)
		}
	}
	return r.changed, r.err
}

// mountDevice mounts the device of a disk on dir. Before, it makes or checks the file system; after, it grows it.
func (g *Guest) mountDevice(d config.Disk, device, dir string) error {
	found, err := disks.ReadSuperblock(g.Root, device)
	if err == nil && found.Type == "" && d.Format != "" {
		if err = g.format(device, d.Format); err == nil {
			found, err = disks.ReadSuperblock(g.Root, device)
		}
	}
	if err != nil {
		return err
	}
	fsType := strings.Replace(cmp.Or(d.Type, found.Type), "auto", found.Type, 1)
	flags, data := mounts.SplitOptions(d.Options)
	writable := flags&unix.MS_RDONLY == 0
	switch {
	case found.Type != "" && !found.IsFileSystem():
		return fmt.Errorf("it is a %s, which arcinit does not support", found.Type)
	case fsType == "":
		return errors.New("it has no file system that arcinit knows: set its type, or set format if the disk is blank")
	case found.Device < found.Size:
		return fmt.Errorf("not mounted: its %s has %d bytes and the device only %d, so the rest is missing", found.Type, found.Size, found.Device)
	case writable && fsType != "btrfs" && fsType != "xfs": // which repair themselves when they are mounted
		const repaired = 1 | 2 // fsck(8)
		if code, err := g.runTool("fsck."+fsType, "-p", device); err != nil && !errors.Is(err, fs.ErrNotExist) && (code == 0 || code&^repaired != 0) {
			return fmt.Errorf("not mounted: %w", err)
		}
	}
	if err := errors.Join(g.makeMountPoint(dir), g.awaitBtrfs(device, fsType, data)); err != nil {
		return err
	}
	if g.disksGivenUp.Load() {
		return errors.New("the disk was ready too late: the boot had continued without it")
	}
	if _, err := mount.Mount(device, dir, fsType, data, flags); err != nil {
		return mounts.ExplainType(fsType, err)
	}
	if d.Grow && writable {
		if err := disks.Grow(dir, found); err != nil {
			return plan.Fallback(err)
		}
	}
	return nil
}

// format makes a file system on a blank device, and never on another.
func (g *Guest) format(device, fsType string) error {
	blank, err := disks.IsBlank(g.Root, device)
	if err == nil && !blank {
		err = errors.New("not formatted: the device has no file system that arcinit knows, but is not blank")
	}
	if err == nil {
		_, err = g.runTool("mkfs."+fsType, "-q", device)
	}
	return err
}

// runTool runs a program of the root. Unless its exit code is 0, the error has what the program printed. Without the program it is fs.ErrNotExist.
func (g *Guest) runTool(name string, args ...string) (code int, err error) {
	for _, dir := range []string{"/sbin/", "/usr/sbin/", "/bin/", "/usr/bin/"} {
		if !g.exists(dir+name) || g.Run == nil {
			continue
		}
		code, output, err := g.Run(append([]string{dir + name}, args...)...)
		if err == nil && code != 0 {
			err = fmt.Errorf("code %d: %s", code, strings.Join(strings.Fields(output), " "))
		}
		if err != nil {
			err = fmt.Errorf("%s: %w", name, err)
		}
		return code, err
	}
	return 0, fmt.Errorf("the root has no program %s: %w", name, fs.ErrNotExist)
}

// awaitBtrfs returns an error while a btrfs of several devices is not complete.
func (g *Guest) awaitBtrfs(device, fsType, data string) error {
	if fsType != "btrfs" || strings.Contains(","+data+",", ",degraded,") {
		return nil
	}
	_, _ = g.loadDriver("fs-btrfs")
	return disks.ScanBtrfs(g.Root, device)
}

// TrimDisks gives the unused blocks of the disks back to the host until left is over.
func (g *Guest) TrimDisks(left func() time.Duration) (err error) {
	for _, d := range g.Config().Disks {
		dir := g.path(diskPath(d))
		if flags, _ := mounts.SplitOptions(d.Options); flags&unix.MS_RDONLY == 0 && mounts.IsMountPoint(dir) {
			err = errors.Join(err, disks.Trim(dir, left))
		}
	}
	return err
}
