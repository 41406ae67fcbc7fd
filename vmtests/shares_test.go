//go:build vmtest

package vmtests

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/arcinit/arcinit/vmtests/guest"
	"github.com/arcinit/arcinit/vmtests/probe"
)

// configuredMounts are the image's and the host's files of TestShares.
const (
	imageMounts = `
[[share]]
tag = "private"
enabled = false
[[share]]
tag = "code"
path = "/code"
[[tmpfs]]
path = "/var/jail"
enabled = false
`
	hostMounts = `
[[share]]
tag = "docs"
path = "/mnt/docs"
read_only = true
[[share]]
tag = "deep"
path = "/mnt/a/b/deep"
[[share]]
tag = "users"
path = "/mnt/users"
optional = true
[[share]]
tag = "gone"
path = "/mnt/gone"
optional = true
[[share]]
tag = "missed"
path = "/mnt/missed"
wait = "300ms"
[[share]]
tag = "arcbox"
path = "/elsewhere"
[[tmpfs]]
path = "/mnt/scratch"
mode = 0o750
size = "8m"
dev = true
[[tmpfs]]
path = "/tmp"
mode = 0o1777
size = "16m"
`
)

// TestShares has more shares and tmpfs than those of the reference, on each kind of root: some are for the image to set, some for
// the host, and the read-only roots lack the mount points.
func TestShares(t *testing.T) {
	t.Parallel()
	im := image{
		tags: []string{"private", "users", "code", "docs", "deep"}, tools: true, nics: bothNICs(), cmdline: []string{"loglevel=8"},
		files:  map[string]string{"/etc/arcinit.toml": imageMounts},
		shared: map[string]string{"etc/arcinit.toml": hostMounts},
	}
	eachKernel(t, func(t *testing.T, k kernel) {
		testShares(t, k.on(t, im))
		if strings.HasSuffix(k.name, " disk") {
			return
		}
		t.Run("root", func(t *testing.T) {
			swapped := k.on(t, im)
			tree := swapinTree(t, map[string]string{"/etc/arcinit.toml": imageMounts})
			command(t, "", "rm", "-r", filepath.Join(tree, "media"))
			swapped.disks, swapped.files = []guest.Disk{{File: erofsDisk(t, tree)}}, nil
			swapped.cmdline = append(swapped.cmdline, "root=/dev/vda", "ro")
			testShares(t, swapped)
		})
	})
}

func testShares(t *testing.T, im image) {
	m := boot(t, im)
	comesUp(t, m, "shares")
	outcome(t, m, "shares", "failed", "missed", "300ms", "gone")
	outcome(t, m, "config", "already", "arcbox", "/etc/arcinit.toml")
	mounts := must[probe.AtStart](t, m, "AtStart", none{}).Mounts
	for path, tag := range map[string]string{"/arcbox": "arcbox", "/code": "code", "/mnt/docs": "docs", "/mnt/a/b/deep": "deep", "/mnt/users": "users"} {
		mp := mount(mounts, path)
		if mp == nil || mp.FSType != "virtiofs" || mp.Source != tag || slices.Contains(mp.Options, "ro") != (tag == "docs") || !mp.Shared {
			t.Errorf("on %s is %+v, want the share %s", path, mp, tag)
			continue
		}
		if got := m.read(t, path+"/where"); got != tag {
			t.Errorf("%s/where holds %q", path, got)
		}
	}
	for _, path := range []string{"/private", "/Users", "/mnt/gone", "/mnt/missed", "/elsewhere", "/var/jail"} {
		if mp := mount(mounts, path); mp != nil {
			t.Errorf("%+v is mounted", mp)
		}
	}
	scratch := mount(mounts, "/mnt/scratch")
	if scratch == nil || scratch.FSType != "tmpfs" || slices.Contains(scratch.Options, "nodev") || !slices.Contains(scratch.Options, "nosuid") {
		t.Fatalf("on /mnt/scratch is %+v", scratch)
	}
	if st := m.stat(t, "/mnt/scratch"); st.Mode.Perm() != 0o750 || st.Bytes != 8<<20 {
		t.Errorf("/mnt/scratch has mode %v and %d bytes", st.Mode, st.Bytes)
	}
	if st := m.stat(t, "/tmp"); st.Bytes != 16<<20 {
		t.Errorf("/tmp has %d bytes", st.Bytes)
	}
	testPivot(t, m)
	t.Run("poweroff", func(t *testing.T) { testPowerOff(t, m) })
}
