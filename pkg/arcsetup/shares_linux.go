package arcsetup

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/arcinit/arcinit/internal/disks"
	"github.com/arcinit/arcinit/internal/kernelfile"
	"github.com/arcinit/arcinit/internal/mounts"
	"github.com/arcinit/arcinit/pkg/arcsetup/plan"
	"golang.org/x/sys/unix"
)

func virtiofs(tag, path string) mounts.Point {
	return mounts.Point{Device: tag, Path: path, FSType: "virtiofs", Magic: unix.FUSE_SUPER_MAGIC}
}

// mountPoints are where the guest has the host's shares, by tag.
func mountPoints() map[string]string {
	return map[string]string{"arcbox": "/arcbox", "private": "/private", "users": "/Users", "rosetta": "/media/rosetta", "arcbox-dax": "/run/arcbox-dax"}
}

// shareLimit is how long the main share is awaited. By then the kernel has found the share's device, if there is one.
// The guest goes on without the share.
const shareLimit = 2500 * time.Millisecond

func (g *Guest) mainShare() (changed bool, err error) {
	m := virtiofs("arcbox", mountPoints()["arcbox"])
	err = g.await("share arcbox", shareLimit, func() (err error) {
		if changed, err = m.Mount(g.Root); noShare(err) {
			err = fmt.Errorf("%w: %w", disks.ErrNotThere, g.explainNoShare(m, err))
		}
		return err
	})
	if err != nil {
		err = fmt.Errorf("share arcbox not mounted on /arcbox: %w", err)
	}
	return changed, err
}

// HasShare reports whether something is mounted on /arcbox. Without that, files for
// the host would fill the guest's memory.
func (g *Guest) HasShare() bool {
	_, mounted, err := mounts.Resolve(g.Root, "/arcbox")
	return err == nil && mounted
}

// share returns a step that mounts an optional share.
func (g *Guest) share(tag, options string) plan.Func {
	m := virtiofs(tag, mountPoints()[tag])
	m.Data = options
	return func() (bool, error) { return g.optionalShare(m) }
}

func (g *Guest) optionalShare(m mounts.Point) (bool, error) {
	changed, err := m.Mount(g.Root)
	if noShare(err) {
		err = plan.Absent(g.explainNoShare(m, err))
	}
	return changed, err
}

// noShare reports whether a mount of virtiofs failed because the host does not offer the
// share, or not with dax=always (both EINVAL), or the kernel has no virtiofs (ENODEV).
func noShare(err error) bool { return errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENODEV) }

// shareTags returns the tags of the virtiofs shares that the kernel has found, since Linux 6.9
// (Documentation/ABI/testing/sysfs-fs-virtiofs).
func (g *Guest) shareTags() (tags []string) {
	files, _ := filepath.Glob(g.path("/sys/fs/virtiofs/*/tag"))
	for _, f := range files {
		if tag, err := kernelfile.Read(f); err == nil {
			tags = append(tags, tag)
		}
	}
	return tags
}

// explainNoShare adds to the error of a failed mount what the kernel knows of the share.
func (g *Guest) explainNoShare(share mounts.Point, err error) error {
	if !errors.Is(err, unix.EINVAL) {
		return err
	}
	if tags := g.shareTags(); len(tags) > 0 && !slices.Contains(tags, share.Device) {
		return fmt.Errorf("virtiofs shares here are %s: %w", strings.Join(tags, ", "), err)
	}
	if share.Data != "" {
		return fmt.Errorf("no virtiofs device with this tag, or not with %s (the kernel log says why): %w", share.Data, err)
	}
	return fmt.Errorf("no virtiofs device with this tag: %w", err)
}
