package arcsetup

import (
	"github.com/arcinit/arcinit/internal/mounts"
	"github.com/u-root/u-root/pkg/mount"
	"golang.org/x/sys/unix"
)

// cgroup mounts version 2 in place of version 1, which u-root's init mounts below a
// tmpfs: a controller belongs to one version at a time.
func (g *Guest) cgroup() (bool, error) {
	var r result
	path, _, version1, err := tmpfs("/sys/fs/cgroup", 0).Find(g.Root)
	if version1 {
		err = mount.Unmount(path, false, true) // lazily, with the mounts below
	}
	r.add(version1, err)
	r.add(mounts.Point{
		Device: "cgroup2", Path: "/sys/fs/cgroup", FSType: "cgroup2", Magic: unix.CGROUP2_SUPER_MAGIC,
		Flags: mounts.Guarded, Data: "nsdelegate,memory_recursiveprot",
	}.Mount(g.Root))
	return r.changed, r.err
}
