package arcsetup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/arcinit/arcinit/pkg/arcsetup/plan"
	"golang.org/x/sys/unix"
)

// fuseMagic is what statfs(2) says of virtiofs (FUSE_SUPER_MAGIC, linux/magic.h).
const fuseMagic = 0x65735546

func virtiofs(tag, path string) mountPoint {
	return mountPoint{device: tag, path: path, fsType: "virtiofs", magic: fuseMagic}
}

// The main share is looked for shareTries times, first shareWait apart, then
// twice as long each time: 2.5 s in all. A device that is there has been found by
// then; without the share the rest of the guest is worth having.
const (
	shareTries = 9
	shareWait  = 10 * time.Millisecond
)

// mainShare mounts the share that everything else of the host is on. Its device
// can appear after init has started, so one look is not enough.
func (g *Guest) mainShare() (bool, error) {
	m := virtiofs("arcbox", "/arcbox")
	changed, err := g.retryShare(func() (bool, error) { return g.mountMade(m) })
	if err != nil {
		return false, fmt.Errorf("share arcbox not mounted on /arcbox: %w", g.whyNoShare(m, err))
	}
	return changed, nil
}

// retryShare calls mount until it finds its share, for as long as that may take.
func (g *Guest) retryShare(mount plan.Func) (changed bool, err error) {
	wait := shareWait
	for range shareTries - 1 {
		if changed, err = mount(); !shareMissing(err) {
			return changed, err
		}
		<-g.After(wait)
		wait *= 2
	}
	return mount()
}

// HasShare reports whether something is mounted on /arcbox: without it, what
// would go to the host would fill the guest's memory.
func (g *Guest) HasShare() bool {
	return isMountPoint(g.path("/arcbox"))
}

func (g *Guest) privateShare() (bool, error) {
	return g.optionalShare(virtiofs("private", "/private"))
}

func (g *Guest) usersShare() (bool, error) {
	return g.optionalShare(virtiofs("users", "/Users"))
}

// daxShare exists to exercise the DAX path, so it is not mounted without. Any
// further option, cache= too, makes virtiofs refuse the mount.
func (g *Guest) daxShare() (bool, error) {
	m := virtiofs("arcbox-dax", "/run/arcbox-dax")
	m.data = "dax=always"
	return g.optionalShare(m)
}

func (g *Guest) optionalShare(m mountPoint) (bool, error) {
	changed, err := g.mountMade(m)
	if shareMissing(err) {
		err = plan.Absent(g.whyNoShare(m, err))
	}
	return changed, err
}

// shareMissing reports whether a mount of virtiofs failed because the host does
// not offer the share: EINVAL, which also answers a dax=always that it cannot
// give, or ENODEV from a kernel without virtiofs.
func shareMissing(err error) bool {
	return errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENODEV)
}

// whyNoShare says in words what the error number of a failed mount means.
func (g *Guest) whyNoShare(m mountPoint, err error) error {
	if !errors.Is(err, unix.EINVAL) {
		return err
	}
	// Linux 6.9 and later list the tags (Documentation/ABI/testing/sysfs-fs-virtiofs).
	files, _ := filepath.Glob(g.path("/sys/fs/virtiofs/*/tag"))
	var tags []string
	for _, f := range files {
		if tag, err := os.ReadFile(f); err == nil {
			tags = append(tags, strings.TrimSpace(string(tag)))
		}
	}
	if len(tags) > 0 && !slices.Contains(tags, m.device) {
		return fmt.Errorf("virtiofs shares here are %s: %w", strings.Join(tags, ", "), err)
	}
	if m.data != "" {
		if said := kernelSaid("virtio-fs: dax"); said != "" {
			return fmt.Errorf("not with %s: the kernel says %q: %w", m.data, said, err)
		}
	}
	switch {
	case len(tags) > 0:
		return fmt.Errorf("the host offers it, but not with %s: %w", m.data, err)
	case m.data != "":
		return fmt.Errorf("no virtiofs device with this tag, or not with %s: %w", m.data, err)
	}
	return fmt.Errorf("no virtiofs device with this tag: %w", err)
}
