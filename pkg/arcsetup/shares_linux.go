package arcsetup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/arcinit/arcinit/internal/disks"
	"github.com/arcinit/arcinit/internal/kernelfile"
	"github.com/arcinit/arcinit/internal/mounts"
	"github.com/arcinit/arcinit/pkg/arcsetup/config"
	"github.com/arcinit/arcinit/pkg/arcsetup/plan"
	"golang.org/x/sys/unix"
)

// mountShare mounts a share, and waits for it as long as it may take to appear.
func (g *Guest) mountShare(s config.Share) (changed bool, err error) {
	m := mounts.Point{Device: s.Tag, Path: s.Path, FSType: "virtiofs", Magic: unix.FUSE_SUPER_MAGIC}
	if s.ReadOnly {
		m.Flags = unix.MS_RDONLY
	}
	if s.DAX {
		m.Data = "dax=always"
	}
	err = g.await("share "+s.Tag, s.Wait, func() (err error) {
		if changed, err = g.mountAnywhere(m); noShare(err) {
			err = fmt.Errorf("%w: %w", disks.ErrNotThere, g.explainNoShare(m, err))
		}
		return err
	})
	return changed, explainAbsence("share "+s.Tag+" not mounted on "+s.Path, s.Optional, err)
}

// share returns a step that mounts the share with this tag, or on this path.
func (g *Guest) share(key string) plan.Func {
	return func() (bool, error) {
		c := g.Config()
		s, ok := c.Share(key)
		if !ok {
			return false, plan.Absent(errors.New("not configured"))
		}
		return g.mountShare(s)
	}
}

// shareLimit returns the limit of a step that mounts the share with this tag, or on this path, or all shares.
func (g *Guest) shareLimit(key string) func() time.Duration {
	return func() time.Duration {
		limit := plan.DefaultLimit
		for _, s := range g.Config().Shares {
			if key == "" || key == s.Tag || key == s.Path {
				limit += 2 * s.Wait
			}
		}
		return limit
	}
}

// furtherShares mounts the shares for which the plan has no step of their own.
func (g *Guest) furtherShares() (bool, error) {
	r, found := result{}, false
	for _, s := range g.Config().Shares {
		if s.Path != "/arcbox" && !slices.Contains([]string{"private", "users", "rosetta", "arcbox-dax"}, s.Tag) {
			found = true
			r.add(g.mountShare(s))
		}
	}
	if !found {
		r.err = plan.Absent(errors.New("none configured"))
	}
	return r.changed, r.err
}

// mountAnywhere mounts m, on a read-only root also where there is no directory.
func (g *Guest) mountAnywhere(m mounts.Point) (changed bool, err error) {
	if changed, err = m.Mount(g.Root); errors.Is(err, unix.EROFS) {
		if err = g.makeMountPoint(g.path(m.Path)); err == nil {
			return m.Mount(g.Root)
		}
	}
	return changed, err
}

// makeMountPoint makes a directory to mount on. On a read-only root it covers the nearest directory above, but not / itself, with a writable overlay.
func (g *Guest) makeMountPoint(path string) error {
	err := os.MkdirAll(path, 0o755)
	if !errors.Is(err, unix.EROFS) {
		return err
	}
	above := filepath.Dir(path)
	for above != "/" && !g.exists(above) {
		above = filepath.Dir(above)
	}
	if above == "/" {
		return fmt.Errorf("the root is read-only and has no %s: make it, or name the mount in %s: %w", path, config.ImageFile, err)
	}
	g.covering.Lock() // a second overlay would hide what is mounted below the first
	defer g.covering.Unlock()
	layers := RunDir + "/mounts" + above
	overlay := mounts.Point{Device: "overlay", Path: above, FSType: "overlay", Magic: unix.OVERLAYFS_SUPER_MAGIC,
		Data: fmt.Sprintf("lowerdir=%s,upperdir=%s/upper,workdir=%[2]s/work", above, layers)}
	if err := errors.Join(os.MkdirAll(layers+"/upper", 0o755), os.MkdirAll(layers+"/work", 0o755)); err != nil {
		return err
	}
	if _, err := overlay.Mount("/"); err != nil {
		return err
	}
	return os.MkdirAll(path, 0o755)
}

// HasShare reports whether something is mounted on /arcbox. Without that, files for the host would fill the guest's memory.
func (g *Guest) HasShare() bool {
	_, mounted, err := mounts.Resolve(g.Root, "/arcbox")
	return err == nil && mounted
}

// noShare reports whether a mount of virtiofs failed because the host does not offer the
// share, or not with dax=always (both EINVAL), or the kernel has no virtiofs (ENODEV).
func noShare(err error) bool { return errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENODEV) }

// shareTags returns the tags of the virtiofs shares that the kernel has found, since Linux 6.9 (Documentation/ABI/testing/sysfs-fs-virtiofs).
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
