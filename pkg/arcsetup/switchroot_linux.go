package arcsetup

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/arcinit/arcinit/pkg/arcsetup/config"
	"github.com/arcinit/arcinit/pkg/arcsetup/plan"
	"golang.org/x/sys/unix"
)

// newRoot is where the root is mounted before it becomes /.
const newRoot = "/.newroot"

// switchRoot goes on in the root that the kernel command line names, as
// switch_root(8) does, but in this same process. Nothing else may look up a path
// meanwhile. When the root does not come, or cannot be a root, the guest stays on
// the initramfs.
func (g *Guest) switchRoot() (changed bool, err error) {
	root, errRoot := g.commandLine.Root()
	if root.Device == "" || !g.OwnRoot {
		return false, nil
	}
	if initramfs, err := onInitramfs(); err != nil || !initramfs {
		return false, err
	}
	if errRoot != nil {
		errRoot = plan.Fallback(errRoot)
	}
	old, err := openInitramfs()
	if err != nil {
		return false, errors.Join(errRoot, fmt.Errorf("root=%s: %w", root.Device, err))
	}
	readOnly, err := g.changeRoot(root)
	if err != nil {
		return false, errors.Join(errRoot, old.close(), fmt.Errorf("root=%s: %w; the guest stays on its initramfs; %s",
			root.Device, err, g.describeBlockDevices()))
	}
	if readOnly != nil {
		readOnly = plan.Fallback(fmt.Errorf("root=%s is read-only in spite of rw: %w", root.Device, readOnly))
	}
	// What cannot be freed is lost, no more.
	errFree := errors.Join(old.keepModules(), old.free())
	if errFree != nil {
		errFree = plan.Fallback(fmt.Errorf("free the initramfs: %w", errFree))
	}
	g.loader, _ = openModules(g.Root)
	if g.RootChanged != nil {
		g.RootChanged()
	}
	return true, errors.Join(errRoot, readOnly, errFree)
}

// changeRoot mounts the root and makes it /. On an error everything is as it was.
// readOnly says why a root that should be writable is not.
func (g *Guest) changeRoot(root config.Root) (readOnly, err error) {
	if err := os.Mkdir(newRoot, 0o700); err != nil {
		return nil, err
	}
	err = g.await("root="+root.Device, root.Wait, func() (err error) {
		readOnly, err = g.mountRoot(root, newRoot)
		return err
	})
	if err != nil {
		return nil, errors.Join(err, os.Remove(newRoot))
	}
	if err := enterRoot(newRoot); err != nil {
		return nil, errors.Join(err, unmount(newRoot), os.Remove(newRoot))
	}
	return readOnly, nil
}

// The root is looked for at intervals from rootRetry on, each twice as long as
// the one before, but no longer than maxRootRetry. Once it has taken rootNotice,
// and when it has taken twice as long, and so on, that is said.
const (
	rootRetry    = 10 * time.Millisecond
	maxRootRetry = 250 * time.Millisecond
	rootNotice   = 5 * time.Second
)

// await calls try until it finds what it looks for, within the limit, which
// config.WaitForever takes away; then it returns its last error.
func (g *Guest) await(what string, limit time.Duration, try func() error) error {
	var end <-chan time.Time
	if limit != config.WaitForever {
		end = g.After(limit)
	}
	taken, notice := rootNotice, g.After(rootNotice)
	var errDrivers error
	for wait := rootRetry; ; wait = min(2*wait, maxRootRetry) {
		err := try()
		if !errors.Is(err, errNotThere) {
			return err
		}
		select {
		case <-end:
			return errors.Join(fmt.Errorf("%w after %v", err, limit), errDrivers)
		case <-notice:
			if g.Waiting != nil {
				g.Waiting(what, taken, g.describeBlockDevices())
			}
			notice, taken = g.After(taken), 2*taken
		case <-g.After(wait):
		}
		// A disk that has just been plugged in may need a driver first.
		_, errDrivers = g.loadBootDrivers()
	}
}

// mountRoot mounts the root on dir: a block device, or a virtiofs share where
// that is its type. An error is errNotThere where waiting may help.
func (g *Guest) mountRoot(root config.Root, dir string) (readOnly, err error) {
	device, types := root.Device, root.Types
	share := slices.Equal(types, []string{"virtiofs"})
	if !share {
		if device, err = g.findBlockDevice(root.Device); err != nil {
			return nil, err
		}
	}
	if len(types) == 0 {
		found, err := g.readSuperblock(device)
		if err != nil {
			return nil, err
		}
		if found.Type == "" {
			return nil, fmt.Errorf("%s has no file system that arcinit knows: name it by rootfstype=", device)
		}
		types = []string{found.Type}
	}
	var errs []error
	for _, fsType := range types {
		readOnly, err = mountAsRoot(device, dir, fsType, root)
		switch {
		case err == nil:
			return readOnly, nil
		case share && shareMissing(err):
			err = g.whyNoShare(mountPoint{device: device}, err)
			return nil, fmt.Errorf("%w: %w", errNotThere, err)
		case errors.Is(err, unix.ENXIO) || errors.Is(err, unix.ENOENT):
			// The node is there before the disk, and gone before it.
			return nil, fmt.Errorf("%s: %w: %w", device, errNotThere, err)
		}
		errs = append(errs, fmt.Errorf("mount %s as %s: %w", device, fsType, err))
	}
	return nil, errors.Join(errs...)
}

// mountAsRoot mounts a root as one type. As with the kernel, a device that cannot
// be written is mounted read-only even where rw was asked for.
func mountAsRoot(device, dir, fsType string, root config.Root) (readOnly, err error) {
	if root.Writable {
		err = unix.Mount(device, dir, fsType, 0, root.Options)
		if !errors.Is(err, unix.EACCES) && !errors.Is(err, unix.EROFS) {
			return nil, err
		}
	}
	return err, unix.Mount(device, dir, fsType, unix.MS_RDONLY, root.Options)
}

// movedMounts lists what is mounted on the initramfs when the root is switched.
func movedMounts() []string {
	return slices.DeleteFunc([]string{"/dev", "/proc", "/sys", "/run"}, func(dir string) bool { return !isMountPoint(dir) })
}

// enterRoot makes what is mounted on dir the root of this process, and moves the
// other mounts there. On an error everything is as it was.
func enterRoot(dir string) error {
	for _, m := range movedMounts() {
		// A link would lead to the old root now, and elsewhere later.
		if st, err := os.Lstat(dir + m); err == nil && !st.IsDir() {
			return fmt.Errorf("not a root: its %s is not a directory", m)
		} else if err == nil {
			continue
		}
		if err := os.Mkdir(dir+m, 0o755); err != nil {
			return fmt.Errorf("not a root: it has no %s: %w", m, err)
		}
	}
	var moved []string
	back := func(err error) error {
		for _, m := range slices.Backward(moved) {
			err = errors.Join(err, moveMount(dir+m, m))
		}
		return err
	}
	for _, m := range movedMounts() {
		if err := moveMount(m, dir+m); err != nil {
			return back(err)
		}
		moved = append(moved, m)
	}
	if err := becomeRoot(dir); err != nil {
		return back(err)
	}
	return nil
}

func moveMount(from, to string) error {
	if err := unix.Mount(from, to, "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move the mount %s to %s: %w", from, to, err)
	}
	return nil
}
