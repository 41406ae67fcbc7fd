package arcsetup

import (
	"errors"

	"github.com/u-root/u-root/pkg/mount"
	"golang.org/x/sys/unix"
)

const cgroupPath = "/sys/fs/cgroup"

// cgroup mounts version 2 in place of version 1, which u-root's init mounts: a
// controller belongs to one version at a time.
func (g *Guest) cgroup() (bool, error) {
	var r result
	r.add(g.unmountCgroup1())
	m := mountPoint{
		device: "cgroup2", path: cgroupPath, fsType: "cgroup2", magic: unix.CGROUP2_SUPER_MAGIC,
		flags: guarded, data: "nsdelegate,memory_recursiveprot",
	}
	changed, err := g.mount(m)
	if errors.Is(err, unix.EINVAL) {
		m.data = "nsdelegate" // Linux before 5.7
		changed, err = g.mount(m)
	}
	r.add(changed, err)
	return r.changed, r.err
}

// unmountCgroup1 unmounts the tmpfs with the hierarchies of version 1. A lazy
// unmount takes along what is mounted below.
func (g *Guest) unmountCgroup1() (changed bool, err error) {
	path, _, mounted, err := g.find(mountPoint{path: cgroupPath, magic: unix.TMPFS_MAGIC})
	if err != nil || !mounted {
		return false, err
	}
	return true, mount.Unmount(path, false, true)
}
