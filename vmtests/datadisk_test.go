//go:build vmtest

package vmtests

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/arcinit/arcinit/vmtests/guest"
	"github.com/arcinit/arcinit/vmtests/probe"
)

// withE2fsprogs returns a root's tree that has the programs to make and check an ext4, which are on the share.
func withE2fsprogs(t *testing.T) (tree string) {
	t.Helper()
	tree = swapinTree(t, nil)
	for name, command := range map[string]string{"mkfs.ext4": "mke2fs -t ext4", "fsck.ext4": "e2fsck"} {
		program, options, _ := strings.Cut(command, " ")
		script := "#!/bin/sh\necho " + name + " \"$@\" >>/arcbox/programs\nexec " + strings.Join(tool("e2fs", program, options), " ") + " \"$@\"\n"
		path := filepath.Join(tree, "sbin", name)
		addFiles(t, tree, map[string]string{"sbin/" + name: script})
		if err := os.Chmod(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return tree
}

// grown makes a disk that is larger than its file system.
func grown(t *testing.T, file string, mib int64) string {
	t.Helper()
	if err := os.Truncate(file, mib<<20); err != nil {
		t.Fatal(err)
	}
	return file
}

// used is how many bytes of a file take space on the host.
func used(t *testing.T, file string) int64 {
	t.Helper()
	var st syscall.Stat_t
	if err := syscall.Stat(file, &st); err != nil {
		t.Fatal(err)
	}
	return st.Blocks * 512
}

const dataDisks = `
[[disk]]
device = "LABEL=data"
path = "/var/data"
options = "noatime,nodev"
grow = true
[[disk]]
device = "LABEL=pool"
grow = true
[disk.directories]
"/var/lib/docker" = "docker"
"/var/lib/containerd" = "subvolumes/containerd"
[[disk]]
device = "/dev/vdd"
path = "/mnt/new"
format = "ext4"
[[disk]]
device = "/dev/vde"
path = "/mnt/unknown"
format = "ext4"
[[disk]]
device = "/dev/vdf"
path = "/mnt/short"
[[disk]]
device = "/dev/vdg"
path = "/mnt/luks"
format = "ext4"
[[disk]]
device = "LABEL=absent"
path = "/mnt/absent"
optional = true
wait = "100ms"
[[disk]]
device = "LABEL=xfs"
path = "/mnt/xfs"
grow = true
optional = true
wait = "100ms"
[[disk]]
device = "LABEL=read"
path = "/mnt/read"
options = "ro"
grow = true
`

// TestDisks mounts disks of every kind at two boots. Those that arcinit does not know stay as they are.
func TestDisks(t *testing.T) {
	t.Parallel()
	eachKernel(t, func(t *testing.T, k kernel) {
		if strings.HasSuffix(k.name, " disk") {
			return // whose root has no programs
		}
		unknown := empty(t, 24)
		if err := os.WriteFile(unknown, append(make([]byte, 9<<20+4711), "precious"...), 0o644); err != nil {
			t.Fatal(err)
		}
		grown(t, unknown, 24)
		luks := empty(t, 8)
		if err := os.WriteFile(luks, []byte("LUKS\xba\xbe\x00\x02"), 0o644); err != nil {
			t.Fatal(err)
		}
		grown(t, luks, 8)
		data, pool, blank := grown(t, fill(t, empty(t, 64), "ext4", "data"), 256), grown(t, fill(t, empty(t, 128), "btrfs", "pool"), 320), empty(t, 96)
		files := []string{data, pool, blank, unknown, grown(t, fill(t, empty(t, 16), "ext4", "short"), 12), luks, fill(t, empty(t, 16), "ext4", "read")}
		if !k.own() {
			files = append(files, grown(t, fill(t, empty(t, 320), "xfs", "xfs"), 400))
		}
		untouched := map[string][]byte{unknown: nil, luks: nil, files[4]: nil, files[6]: nil}
		for file := range untouched {
			untouched[file], _ = os.ReadFile(file)
		}
		im := k.on(t, image{
			cmdline: []string{"loglevel=8", "root=/dev/vda"}, tools: true, nics: bothNICs(), shared: map[string]string{"etc/arcinit.toml": dataDisks},
			disks: []guest.Disk{{File: erofsDisk(t, withE2fsprogs(t))}},
		})
		for _, file := range files {
			im.disks = append(im.disks, guest.Disk{File: file, Writable: file != files[6]})
		}
		for _, round := range []string{"first", "second"} {
			t.Run(round, func(t *testing.T) { testDisks(t, boot(t, im), round == "first", !k.own()) })
		}
		for file, before := range untouched {
			if now, _ := os.ReadFile(file); !bytes.Equal(now, before) {
				t.Errorf("%s was changed", file)
			}
		}
		for _, file := range []string{data, blank} {
			testClean(t, file)
		}
		command(t, "", "btrfs", "check", pool)
		if !k.own() {
			command(t, "", "xfs_repair", "-n", files[7])
		}
		// 32 MiB were written to each, and deleted before the power-off.
		for _, file := range []string{data, pool} {
			if n := used(t, file); n > 24<<20 {
				t.Errorf("%s takes %d MiB on the host after what was in it has been deleted", file, n>>20)
			}
		}
	})
}

func testDisks(t *testing.T, m *machine, first, xfs bool) {
	comesUp(t, m, "disks")
	outcome(t, m, "disks", "failed", "/dev/vde", "/dev/vdf", "16777216", "12582912", "/dev/vdg", "crypto_LUKS", "LABEL=absent", "LABEL=data")
	mounts := must[probe.AtStart](t, m, "AtStart", none{}).Mounts
	for path, want := range map[string]struct {
		source, fsType, options string
		least                   uint64
	}{
		"/var/data": {"/dev/vdb", "ext4", "noatime", 230 << 20}, "/var/lib/docker": {"/dev/vdc", "btrfs", "rw", 320 << 20},
		"/var/lib/containerd": {"/dev/vdc", "btrfs", "rw", 320 << 20}, "/mnt/new": {"/dev/vdd", "ext4", "rw", 80 << 20},
		"/mnt/read": {"/dev/vdh", "ext4", "ro", 12 << 20}, "/mnt/xfs": {"/dev/vdi", "xfs", "rw", 330 << 20},
	} {
		mp := mount(mounts, path)
		if path == "/mnt/xfs" && !xfs {
			continue
		}
		if mp == nil || mp.Source != want.source || mp.FSType != want.fsType || !strings.Contains(strings.Join(mp.Options, " "), want.options) {
			t.Errorf("on %s is %+v, want %+v", path, mp, want)
		} else if st := m.stat(t, path); st.Bytes < want.least {
			t.Errorf("%s has %d bytes, want %d", path, st.Bytes, want.least)
		}
	}
	for _, path := range []string{"/mnt/unknown", "/mnt/short", "/mnt/luks", "/mnt/absent"} {
		if mp := mount(mounts, path); mp != nil {
			t.Errorf("%+v is mounted", mp)
		}
	}
	for _, dir := range []string{"/var/data", "/var/lib/docker", "/var/lib/containerd", "/mnt/new"} {
		if first {
			must[none](t, m, "WriteFile", writeFile{dir + "/kept", []byte(dir)})
			m.run(t, "/bin/sh", "-c", "head -c 32m /dev/urandom >"+dir+"/much; sync")
		} else if got := m.read(t, dir+"/kept"); got != dir {
			t.Errorf("%s/kept holds %q", dir, got)
		}
		m.run(t, "/bin/rm", "-f", dir+"/much")
	}
	ran := m.get("programs")
	if strings.Contains(ran, "mkfs.ext4 -q /dev/vdd\n") != first || strings.Count(ran, "mkfs.ext4") > 1 {
		t.Errorf("programs that were run:\n%s", ran)
	}
	for _, want := range []string{"fsck.ext4 -p /dev/vdb\n", "fsck.ext4 -p /dev/vdd\n"} {
		if !strings.Contains(ran, want) {
			t.Errorf("%q was not run:\n%s", want, ran)
		}
	}
	t.Run("poweroff", func(t *testing.T) { testPowerOff(t, m) })
}

// TestDisksKilled kills the machine while programs write to its disks. The next boot puts the file systems right.
func TestDisksKilled(t *testing.T) {
	t.Parallel()
	data, pool := fill(t, empty(t, 96), "ext4", "data"), fill(t, empty(t, 128), "btrfs", "pool")
	im := image{
		cmdline: []string{quiet, "root=/dev/vda"}, tools: true,
		shared: map[string]string{"etc/arcinit.toml": "[[disk]]\ndevice = \"LABEL=data\"\npath = \"/var/data\"\n[[disk]]\ndevice = \"LABEL=pool\"\npath = \"/var/pool\"\n"},
		disks:  []guest.Disk{{File: erofsDisk(t, withE2fsprogs(t))}, {File: data, Writable: true}, {File: pool, Writable: true}},
	}
	m := boot(t, im)
	comesUp(t, m)
	for _, dir := range []string{"/var/data", "/var/pool"} {
		m.tell("Run", probe.Command{Argv: []string{"/bin/sh", "-c", fmt.Sprintf("cd %s; for i in 1 2 3 4 5 6 7 8 9; do mkdir $i; head -c 3m /dev/urandom >$i/file; sync; mv $i old$i; done; echo all >all; sync", dir)}})
	}
	eventually(t, func() string {
		if got := must[[]string](t, m, "Glob", "/var/*/old2"); len(got) == 0 {
			return "nothing is written"
		}
		return ""
	})
	m.Kill()
	<-m.Ended()
	m = boot(t, im)
	comesUp(t, m)
	for _, dir := range []string{"/var/data", "/var/pool"} {
		if mp := mount(must[[]probe.Mount](t, m, "Mounts", none{}), dir); mp == nil {
			t.Errorf("nothing is mounted on %s", dir)
		}
	}
	testPowerOff(t, m)
	testClean(t, data)
	command(t, "", "btrfs", "check", pool)
}

// TestDiskComesLater boots while a disk is missing: the guest waits, and goes on when the disk is plugged in.
func TestDiskComesLater(t *testing.T) {
	t.Parallel()
	m := boot(t, image{cmdline: []string{quiet}, qemu: []string{"-device", "pcie-root-port,id=socket,chassis=1,slot=1"},
		shared: map[string]string{"etc/arcinit.toml": "[[disk]]\ndevice = \"LABEL=late\"\npath = \"/data\"\noptions = \"ro\"\nwait = \"5m\"\n"}})
	said(t, m, "arcinit: ", "disk LABEL=late")
	if got := hostStatus(t, m, "agent"); got.Starts > 0 {
		t.Errorf("the agent was started before its disk: %+v", got)
	}
	plugIn(t, m, fill(t, empty(t, 16), "ext4", "late"), "socket")
	comesUp(t, m)
	if got := m.read(t, "/data/name"); strings.TrimSpace(got) != "late" {
		t.Errorf("the disk's file holds %q", got)
	}
}
