package arcsetup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/arcinit/arcinit/internal/mounts"
	"github.com/arcinit/arcinit/internal/regular"
	"github.com/arcinit/arcinit/pkg/arcsetup/plan"
	"github.com/u-root/u-root/pkg/mount"
	"golang.org/x/sys/unix"
)

func tmpfs(path string, mode uint32) mounts.Point {
	return mounts.Point{
		Device: "tmpfs", Path: path, FSType: "tmpfs", Magic: unix.TMPFS_MAGIC,
		Flags: unix.MS_NOSUID | unix.MS_NODEV, Mode: mode,
	}
}

// configured returns the configured tmpfs on a path or, without a path, those that are no layers.
func (g *Guest) configured(path string) (points []mounts.Point) {
	for _, t := range g.Config().Tmpfs {
		if t.Path == path || path == "" && !slices.Contains([]string{"/tmp", "/var", "/etc"}, t.Path) {
			m := tmpfs(t.Path, t.Mode)
			if t.Dev {
				m.Flags = unix.MS_NOSUID
			}
			if t.Size != "" {
				m.Data = "size=" + t.Size
			}
			points = append(points, m)
		}
	}
	return points
}

// emptyLayers hide what the image has there, unlike the layer on /etc.
func (g *Guest) emptyLayers() []mounts.Point {
	return append(g.configured("/var"), g.configured("/tmp")...)
}

// leadsInto reports whether a link leads path below dir.
func (g *Guest) leadsInto(path, dir string) bool {
	path, _, err := mounts.Resolve(g.Root, path)
	dir, _, errDir := mounts.Resolve(g.Root, dir)
	return err == nil && errDir == nil && strings.HasPrefix(path, dir+"/")
}

// run mounts the tmpfs that has this program and the state of the other steps. Layers
// that a link leads /run into come first, because they would cover /run later.
func (g *Guest) run() (bool, error) {
	var r result
	if slices.ContainsFunc(g.emptyLayers(), func(m mounts.Point) bool { return g.leadsInto("/run", m.Path) }) {
		r.add(g.layers())
	}
	r.add(tmpfs("/run", 0o755).Mount(g.Root))
	r.add(g.bindProgram())
	return r.changed, r.err
}

// bindProgram mounts this program on ProgramPath. A link would break when the initramfs
// is deleted, and u-root's busybox would follow it to find its command's name.
func (g *Guest) bindProgram() (changed bool, err error) {
	path := g.path(ProgramPath)
	program, err := os.Stat(g.Program)
	if err != nil {
		return false, fmt.Errorf("find this program: %w", err)
	}
	there, err := os.Stat(path)
	if err == nil && os.SameFile(there, program) {
		return false, nil
	}
	if err != nil {
		_, err = g.writeFile(ProgramPath, "", 0o755)
	}
	if err == nil {
		_, err = mount.Mount(g.Program, path, "", "", unix.MS_BIND)
	}
	return err == nil, err
}

func (g *Guest) layers() (bool, error) {
	var r result
	mountEtc := g.copyEtc()
	empty := g.emptyLayers()
	if g.leadsInto("/var", "/tmp") {
		slices.Reverse(empty)
	}
	for _, m := range empty {
		r.add(m.Mount(g.Root))
	}
	r.add(mountEtc())
	r.add(g.keepImageConfig())
	return r.changed, r.err
}

// copyEtc copies the image's /etc into a tmpfs, and returns the function that mounts the tmpfs there. So
// /etc is never seen empty, and in between another layer may cover the place that a link /etc leads to.
func (g *Guest) copyEtc() plan.Func {
	etc := g.configured("/etc")
	if etc == nil {
		return func() (bool, error) { return false, nil }
	}
	m := etc[0]
	from, _, mounted, err := m.Find(g.Root)
	if err != nil || mounted {
		return func() (bool, error) { return m.Mount(g.Root) }
	}
	fd, err := m.Create()
	if err != nil {
		return func() (bool, error) { return false, err }
	}
	errCopy := copyTree(from, g.path(fmt.Sprintf("/proc/self/fd/%d", fd)))
	return func() (bool, error) {
		defer unix.Close(fd) //nolint:errcheck // the mount stays
		// A writable /etc that lacks some files is still better than a read-only one.
		changed, err := m.Attach(g.Root, fd)
		return changed, errors.Join(errCopy, err)
	}
}

// copyTree copies what is below from, with modes, owners and links, into the
// directory to. It copies all that it can. Nothing is below a missing from.
func copyTree(from, to string) error {
	var errs []error
	_ = filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if path == from {
			errs = append(errs, ignoreMissing(err))
			return nil
		}
		if err == nil {
			err = copyEntry(path, filepath.Join(to, strings.TrimPrefix(path, from)), d)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("copy %s: %w", path, err))
			if d.IsDir() {
				return fs.SkipDir
			}
		}
		return nil
	})
	return errors.Join(errs...)
}

func copyEntry(from, to string, d fs.DirEntry) error {
	info, err := d.Info()
	if err != nil {
		return err
	}
	mode := info.Mode()
	switch mode.Type() {
	case fs.ModeDir:
		err = os.Mkdir(to, 0o700)
	case fs.ModeSymlink:
		var target string
		if target, err = os.Readlink(from); err == nil {
			err = os.Symlink(target, to)
		}
	case 0:
		var data []byte
		if data, err = regular.Read("/", from, maxFile, nil); err == nil {
			err = os.WriteFile(to, data, 0o600)
		}
	default:
		err = fmt.Errorf("cannot copy a file of type %s", mode.Type())
	}
	if err == nil {
		st := info.Sys().(*syscall.Stat_t)
		err = os.Lchown(to, int(st.Uid), int(st.Gid))
	}
	if err == nil && mode.Type() != fs.ModeSymlink {
		err = os.Chmod(to, mode)
	}
	return err
}

// jailer mounts the tmpfs that are no layers: those of the configuration, and those for jails, which unlike /var allow device nodes.
func (g *Guest) jailer() (bool, error) {
	var r result
	for _, m := range g.configured("") {
		r.add(g.mountAnywhere(m))
	}
	return r.changed, r.err
}

// directories makes the directories that containerd and dockerd look for.
func (g *Guest) directories() (bool, error) {
	var r result
	if st, err := os.Lstat(g.path("/var/run")); err != nil || !st.IsDir() {
		r.add(g.symlink("/run", "/var/run"))
	}
	for _, dir := range []string{"/var/lib/docker", "/run/containerd", "/var/run/docker"} { // the second makes a missing /run
		if !g.exists(dir) {
			r.add(true, os.MkdirAll(g.path(dir), 0o755))
		}
	}
	return r.changed, r.err
}
