package arcsetup

import (
	"errors"

	"github.com/arcinit/arcinit/internal/mounts"
	"github.com/u-root/u-root/pkg/mount"
	"golang.org/x/sys/unix"
)

const cgroupPath = "/sys/fs/cgroup"

// cgroup mounts version 2 in place of version 1, which u-root's init mounts: a
// controller belongs to one version at a time.
func (g *Guest) cgroup() (bool, error) {
	var r result
	r.add(g.unmountCgroup1())
	m := mounts.Point{
		Device: "cgroup2", Path: cgroupPath, FSType: "cgroup2", Magic: unix.CGROUP2_SUPER_MAGIC,
		Flags: mounts.Guarded, Data: "nsdelegate,memory_recursiveprot",
	}
	changed, err := m.Mount(g.Root)
	if errors.Is(err, unix.EINVAL) {
		m.Data = "nsdelegate" // Linux before 5.7
		changed, err = m.Mount(g.Root)
	}
	r.add(changed, err)
	return r.changed, r.err
}

// unmountCgroup1 unmounts the tmpfs with the hierarchies of version 1. A lazy
// unmount takes along what is mounted below.
func (g *Guest) unmountCgroup1() (changed bool, err error) {
	path, _, mounted, err := tmpfs(cgroupPath, 0).Find(g.Root)
	if err != nil || !mounted {
		return false, err
	}
	return true, mount.Unmount(path, false, true)
}
