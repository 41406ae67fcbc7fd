package arcsetup

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/arcinit/arcinit/internal/disks"
	"github.com/arcinit/arcinit/internal/kmod"
	"github.com/arcinit/arcinit/internal/mounts"
	"github.com/arcinit/arcinit/pkg/arcsetup/config"
	"github.com/arcinit/arcinit/pkg/arcsetup/plan"
	"github.com/u-root/u-root/pkg/mount"
	"golang.org/x/sys/unix"
)

// newRoot is where the root is mounted before it becomes /.
const newRoot = "/.newroot"

// switchRoot changes to the root that the kernel command line names, as switch_root(8) does, but goes on in this process. No step may
// resolve a path meanwhile. If the root does not appear, or cannot be a root, the guest stays on the initramfs.
func (g *Guest) switchRoot() (changed bool, err error) {
	root, errRoot := g.commandLine.Root()
	if root.Device == "" || !g.OwnRoot {
		return false, nil
	}
	if initramfs, err := mount.IsTmpRamfs("/"); err != nil || !initramfs {
		added, errAdd := g.completeRoot(root.Device)
		return added, errors.Join(err, errAdd)
	}
	if errRoot != nil {
		errRoot = plan.Fallback(errRoot)
	}
	if err := keepInitramfs(); err != nil {
		return false, errors.Join(errRoot, fmt.Errorf("root=%s: keep the initramfs: %w", root.Device, err))
	}
	warning, err := g.changeRoot(root)
	if err != nil {
		return false, errors.Join(errRoot, dropInitramfs(), fmt.Errorf("root=%s: %w; the guest stays on its initramfs; %s",
			root.Device, err, disks.Describe(g.Root)))
	}
	errFree := freeInitramfs()
	if errFree != nil { // which costs only memory
		errFree = plan.Fallback(fmt.Errorf("free the initramfs: %w", errFree))
	}
	loader, _ := openModules(g.Root, g.commandLine)
	g.loader.Store(loader)
	if g.RootChanged != nil {
		g.RootChanged()
	}
	return true, errors.Join(errRoot, warning, errFree)
}

// rootLimit is the limit of the step switchroot: the time that the command line grants the root to appear, and as long as any step for the rest.
func (g *Guest) rootLimit() time.Duration {
	root, _ := g.commandLine.Root()
	if root.Wait == config.WaitForever {
		return -1
	}
	return root.Wait + plan.DefaultLimit
}

// giveUpRoot makes the guest stay on the initramfs, unless its root is becoming / just now.
func (g *Guest) giveUpRoot() bool { return g.rootDecided.CompareAndSwap(false, true) }

// errGivenUp is the error of a root that came too late.
var errGivenUp = errors.New("the root was ready too late: the boot had continued without it")

// changeRoot mounts the root and makes it /. On an error it undoes all of that.
// warning is why a root that should be writable is not, or lacks mount points.
func (g *Guest) changeRoot(root config.Root) (warning, err error) {
	if err := os.Mkdir(newRoot, 0o700); err != nil {
		return nil, err
	}
	err = g.await("root="+root.Device, root.Wait, func() (err error) {
		warning, err = g.mountRoot(root, newRoot)
		return err
	})
	if err == nil {
		if warning != nil {
			warning = plan.Fallback(fmt.Errorf("root=%s is mounted read-only despite rw: %w", root.Device, warning))
		}
		if path, _, err := mounts.Resolve(newRoot, config.ImageFile); err == nil {
			g.readImageConfig(path)
		}
		added, errAdd := g.addMountPoints(root.Device, newRoot, newRoot)
		warning = errors.Join(warning, errAdd)
		if err = g.enterRoot(newRoot); err == nil {
			return warning, nil
		}
		if added {
			err = errors.Join(err, mount.Unmount(newRoot, false, true))
		}
		err = errors.Join(err, mount.Unmount(newRoot, false, true))
	}
	return nil, errors.Join(err, os.Remove(newRoot))
}

// completeRoot gives a read-only root, which the kernel has mounted, the mount points that it lacks. /mnt holds the new root for a moment.
func (g *Guest) completeRoot(device string) (changed bool, err error) {
	added, err := g.addMountPoints(device, "/", "/mnt")
	if added {
		if errEnter := g.enterRoot("/mnt"); errEnter != nil {
			return false, errors.Join(err, errEnter, mount.Unmount("/mnt", false, true))
		}
	}
	return added, err
}

// addMountPoints covers a read-only root, which has the directory root, if it lacks a mount point of a share, a tmpfs or a disk: it mounts on dir an
// overlay of the root and of what it lacks. So / stays one mount, named like the root's device, for pivot_root(2) and df(1). An error is a warning.
func (g *Guest) addMountPoints(device, root, dir string) (added bool, err error) {
	const addedDirs = RunDir + "/mountpoints"
	defer func() {
		if err != nil {
			err = plan.Fallback(fmt.Errorf("root=%s is read-only and lacks mount points: %w", device, err))
		}
	}()
	var st unix.Statfs_t
	if err := unix.Statfs(root, &st); err != nil || st.Flags&unix.ST_RDONLY == 0 {
		return false, err
	}
	for _, path := range g.mountPoints() {
		place, _, err := mounts.Resolve(root, path)
		if err != nil {
			return false, err
		}
		if _, err := os.Lstat(place); errors.Is(err, fs.ErrNotExist) {
			added = true
			if err := os.MkdirAll(filepath.Join(addedDirs, strings.TrimPrefix(place, root)), 0o755); err != nil {
				return false, err
			}
		}
	}
	if added {
		// statfs(2) tells the space of the first layer.
		_, err = mount.Mount(device, dir, "overlay", "lowerdir="+root+":"+addedDirs, unix.MS_RDONLY)
	}
	return added && err == nil, mounts.ExplainType("overlay", err)
}

// mountPoints returns the configured mount points that the root should have: not those of shares that are not there, nor those
// that are made on a tmpfs.
func (g *Guest) mountPoints() (paths []string) {
	c, tags := g.Config(), g.shareTags()
	volatile := []string{"/run/"}
	for _, t := range c.Tmpfs {
		paths, volatile = append(paths, t.Path), append(volatile, t.Path+"/")
	}
	for _, s := range c.Shares {
		if tags == nil || slices.Contains(tags, s.Tag) || !s.Optional {
			paths = append(paths, s.Path)
		}
	}
	for _, d := range c.Disks {
		paths = append(paths, slices.AppendSeq([]string{diskPath(d)}, maps.Keys(d.Directories))...)
	}
	return slices.DeleteFunc(paths, func(path string) bool {
		return slices.ContainsFunc(volatile, func(dir string) bool { return strings.HasPrefix(path, dir) })
	})
}

// await tries again after rootRetry, and doubles the wait up to maxRootRetry. It reports the wait after rootNotice, twice rootNotice, and so on.
const (
	rootRetry    = 10 * time.Millisecond
	maxRootRetry = 250 * time.Millisecond
	rootNotice   = 5 * time.Second
)

// await calls try until the result is not ErrNotThere, or the limit is over; config.WaitForever is no limit.
func (g *Guest) await(what string, limit time.Duration, try func() error) error {
	if limit == 0 {
		return try()
	}
	var end <-chan time.Time
	if limit != config.WaitForever {
		end = g.After(limit)
	}
	taken, notice := rootNotice, g.After(rootNotice)
	var errDrivers error
	for wait := rootRetry; ; wait = min(2*wait, maxRootRetry) {
		err := try()
		if !errors.Is(err, disks.ErrNotThere) {
			return err
		}
		select {
		case <-end:
			return errors.Join(fmt.Errorf("%w after %v", err, limit), errDrivers)
		case <-notice:
			if g.Waiting != nil {
				g.Waiting(what, taken, disks.Describe(g.Root))
			}
			notice, taken = g.After(taken), 2*taken
		case <-g.After(wait):
		}
		// A disk that has just been plugged in may need a driver.
		_, errDrivers = g.loadBootDrivers()
	}
}

// mountRoot mounts the root on dir: a share if that is its type, else a block device, as the first of its types that can
// be. The error is ErrNotThere if waiting may help.
func (g *Guest) mountRoot(root config.Root, dir string) (readOnly, err error) {
	device := root.Device
	if !root.Shared() {
		if device, err = disks.Find(g.Root, device); err != nil {
			return nil, err
		}
	}
	var errs []error
	for _, fsType := range root.Types {
		if readOnly, err = g.mountAsRoot(device, dir, fsType, root); err == nil || errors.Is(err, disks.ErrNotThere) {
			return readOnly, err
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// mountAsRoot mounts a root as one type; auto is the one that the superblock has. As the kernel does, it mounts a device
// that cannot be written read-only, even if rw was asked for.
func (g *Guest) mountAsRoot(device, dir, fsType string, root config.Root) (readOnly, err error) {
	if fsType == "auto" {
		found, err := disks.ReadSuperblock(g.Root, device)
		switch {
		case err != nil:
		case found.Type == "":
			err = fmt.Errorf("%s has no file system that arcinit knows: set its type with rootfstype=", device)
		case !found.IsFileSystem():
			err = fmt.Errorf("%s is a %s, which arcinit does not support", device, found.Type)
		}
		if fsType = found.Type; err != nil {
			return nil, err
		}
	}
	flags, data := mounts.SplitOptions(root.Options)
	if err := g.awaitBtrfs(device, fsType, data); err != nil {
		return nil, err
	}
	if root.Writable {
		_, err = mount.Mount(device, dir, fsType, data, flags)
		readOnly = err
	}
	if !root.Writable || errors.Is(err, unix.EACCES) || errors.Is(err, unix.EROFS) {
		_, err = mount.Mount(device, dir, fsType, data, flags|unix.MS_RDONLY)
	}
	if err == nil {
		return readOnly, nil
	}
	if data != "" {
		err = fmt.Errorf("with rootflags=%s: %w", root.Options, err)
	}
	// What the error's number means depends on the file system. So the device or the share itself tells whether it is there.
	var errGone error
	if !root.Shared() {
		errGone = disks.Ready(g.Root, device)
	} else if errors.Is(err, unix.EINVAL) && !slices.Contains(g.shareTags(), device) || errors.Is(err, unix.ENOENT) { // virtiofs, 9p
		errGone, err = disks.ErrNotThere, g.explainNoShare(mounts.Point{Device: device, Data: data}, err)
	}
	if errGone != nil {
		return nil, fmt.Errorf("%w: %w", errGone, err)
	}
	return nil, mounts.ExplainType(fsType, err)
}

// enterRoot makes what is mounted on dir the root of this process, and moves the mounts of the first steps there. On an error it moves them
// back. All that may wait for the root's disk or host comes first, because nobody may give the root up later.
func (g *Guest) enterRoot(dir string) (err error) {
	type move struct{ from, to string }
	var moves []move
	for _, path := range []string{"/dev", "/proc", "/sys", "/run"} {
		from, mounted, err := mounts.Resolve(g.Root, path)
		if err != nil || !mounted {
			continue
		}
		to := dir + path
		if err := os.Mkdir(to, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			return fmt.Errorf("not a root: it has no %s: %w", path, err)
		}
		// A link would lead to the old root now, and elsewhere later.
		if st, err := os.Lstat(to); err != nil || !st.IsDir() {
			return fmt.Errorf("not a root: its %s is not a directory", path)
		}
		moves = append(moves, move{from, to})
	}
	if !g.rootDecided.CompareAndSwap(false, true) {
		return errGivenUp
	}
	for i, m := range moves {
		if err = mount.MoveMount(m.from, m.to); err != nil {
			err = fmt.Errorf("move the mount %s to %s: %w", m.from, m.to, err)
			moves = moves[:i]
			break
		}
	}
	if err == nil {
		err = becomeRoot(dir)
	}
	if err != nil {
		for _, m := range moves {
			err = errors.Join(err, mount.MoveMount(m.to, m.from))
		}
	}
	return err
}

// keptInitramfs is where the initramfs is while another root takes its place. Its modules stay there if the new root has none for this kernel.
const keptInitramfs = "/run/arcbox/initramfs"

// keepInitramfs mounts the initramfs on keptInitramfs, without the mounts below it.
func keepInitramfs() error {
	if err := os.MkdirAll(keptInitramfs, 0o755); err != nil {
		return err
	}
	_, err := mount.Mount("/", keptInitramfs, "", "", unix.MS_BIND)
	return err
}

// dropInitramfs unmounts the initramfs from keptInitramfs.
func dropInitramfs() error {
	return errors.Join(mount.Unmount(keptInitramfs, false, true), os.Remove(keptInitramfs))
}

// freeInitramfs deletes the files of the initramfs, which use memory until then, except modules that the new root lacks.
func freeInitramfs() error {
	var modules string
	if _, err := kmod.Open("/", "/sys", nil, nil); err != nil {
		modules, _ = filepath.EvalSymlinks(keptInitramfs + "/lib/modules") // empty without modules
	}
	err := deleteBelow(keptInitramfs, modules)
	if modules == "" {
		err = errors.Join(err, dropInitramfs())
	}
	return err
}

// deleteBelow deletes all that it can in the directory dir, except the directory keep and what is mounted there.
func deleteBelow(dir, keep string) error {
	var found []string
	var errs []error
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			errs = append(errs, err)
		case path == dir:
		case path == keep, d.IsDir() && mounts.IsMountPoint(path):
			return fs.SkipDir
		default:
			found = append(found, path)
		}
		return nil
	})
	for _, path := range slices.Backward(found) {
		// A directory that leads to something that stays is not empty. On the old root something may be mounted on it, which is not mounted here.
		if err := os.Remove(path); !errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, unix.EBUSY) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
