//go:build vmtest

package vmtests

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/arcinit/arcinit/vmtests/guest"
	"github.com/arcinit/arcinit/vmtests/probe"
)

// smallRootDirs are the mount points of a small root.
const smallRootDirs = "arcbox dev etc proc run sys tmp var"

// smallRoot makes a tree with the mount points of a root, and its name in a file.
func smallRoot(t *testing.T, name string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for _, mountPoint := range strings.Fields(smallRootDirs) {
		if err := os.Mkdir(filepath.Join(dir, mountPoint), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	addFiles(t, dir, map[string]string{"name": name})
	return dir
}

// empty makes a file of zeros.
func empty(t *testing.T, mib int64) (file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, mib<<20); err != nil {
		t.Fatal(err)
	}
	return file
}

// fill makes a file system in a file, with a small root that has the file system's name, which is also its label.
func fill(t *testing.T, file, fsType, name string, options ...string) string {
	t.Helper()
	tree := smallRoot(t, name)
	switch fsType {
	case "ext4":
		command(t, "", "mke2fs", append([]string{"-q", "-t", "ext4", "-L", name, "-E", "root_owner=0:0", "-d", tree, file}, options...)...)
	case "btrfs":
		command(t, "", "mkfs.btrfs", append([]string{"-q", "-L", name, "-r", tree, file}, options...)...)
	case "erofs":
		command(t, "", "mkfs.erofs", append([]string{"--all-root", file, tree}, options...)...)
	case "squashfs":
		command(t, "", "mksquashfs", append([]string{tree, file, "-noappend", "-all-root", "-quiet"}, options...)...)
	case "xfs":
		// A prototype file (mkfs.xfs(8)): the root's mode and owner, then its entries.
		prototype := "/\n0 0\nd--755 0 0\n"
		for _, mountPoint := range strings.Fields(smallRootDirs) {
			prototype += mountPoint + " d--755 0 0\n$\n"
		}
		prototype += "name ---644 0 0 " + filepath.Join(tree, "name") + "\n$\n"
		path := filepath.Join(t.TempDir(), "prototype")
		if err := os.WriteFile(path, []byte(prototype), 0o644); err != nil {
			t.Fatal(err)
		}
		command(t, "", "mkfs.xfs", append([]string{"-q", "-L", name, "-p", path, file}, options...)...)
	}
	return file
}

// partition is a part of a disk: what it holds, and further words for sfdisk(8).
type partition struct{ file, words string }

// partitioned writes a partition table with these partitions over what a file has, from 16 MiB on.
func partitioned(t *testing.T, file, header string, blockSize int64, partitions ...partition) string {
	t.Helper()
	const mib = 1 << 20
	at, script := int64(16), header+"\n"
	starts := make([]int64, len(partitions))
	for i, p := range partitions {
		st, err := os.Stat(p.file)
		if err != nil {
			t.Fatal(err)
		}
		size := (st.Size() + mib - 1) / mib
		script += fmt.Sprintf("start=%d, size=%d, %s\n", at*mib/blockSize, size*mib/blockSize, p.words)
		starts[i] = at
		at += size
	}
	if st, err := os.Stat(file); err != nil || st.Size() < (at+1)*mib {
		if err := os.Truncate(file, (at+1)*mib); err != nil {
			t.Fatal(err)
		}
	}
	if blockSize == 512 {
		command(t, script, "sfdisk", "-q", "-w", "never", "-W", "never", file)
	} else {
		// sfdisk knows no other blocks. fdisk makes a GPT with one partition, whose words are its name.
		command(t, fmt.Sprintf("g\nn\n1\n%d\n%d\nx\nn\n%s\nr\nw\n", starts[0]*mib/blockSize, at*mib/blockSize-1, partitions[0].words),
			"fdisk", "-b", fmt.Sprint(blockSize), "-w", "never", "-W", "never", file)
	}
	for i, p := range partitions {
		command(t, "", "dd", "if="+p.file, "of="+file, "bs=1M", fmt.Sprint("seek=", starts[i]), "conv=notrunc,sparse", "status=none")
	}
	return file
}

const (
	foreignUUID = "1b4e28ba-2fa1-11d2-883f-b9a761bde3fb"
	foreignPart = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"
	foreignLUKS = "6ba7b811-9dad-11d1-80b4-00c04fd430c8"
)

// foreignDisks makes disks as other people have them, each with roots that have names.
func foreignDisks(t *testing.T) []guest.Disk {
	t.Helper()
	file := func(mib int64, fsType, name string, options ...string) string {
		return fill(t, empty(t, mib), fsType, name, options...)
	}
	gpt := partitioned(t, empty(t, 0), "label: gpt", 512,
		partition{file(16, "ext4", "the root", "-U", foreignUUID), "uuid=" + foreignPart + `, name="root part"`},
		partition{file(1, "erofs", "erofs"), "name=erofs"},
		partition{file(1, "squashfs", "squashfs"), "name=squashfs"},
		partition{file(300, "xfs", "xfs"), "name=xfs"},
		partition{file(128, "btrfs", "crc32c"), "name=crc32c"},
		partition{file(128, "btrfs", "xxhash", "--csum", "xxhash"), "name=xxhash"},
		partition{file(128, "btrfs", "sha256", "--csum", "sha256"), "name=sha256"},
		partition{file(128, "btrfs", "blake2b", "--csum", "blake2"), "name=blake2b"},
	)
	// The whole disk was an ext4 before, whose superblock is still there.
	mbr := partitioned(t, file(64, "ext4", "mbr"), "label: dos\nlabel-id: 0xdeadbeef", 512, partition{file(16, "ext4", "mbr"), ""})
	unsigned := partitioned(t, empty(t, 0), "label: dos\nlabel-id: 0x0", 512, partition{file(16, "ext4", "unsigned"), ""})
	large := partitioned(t, empty(t, 0), "label: gpt", 4096, partition{file(16, "ext4", "4K", "-b", "4096"), "4K"})
	luks := empty(t, 16)
	header := make([]byte, 1<<20)
	copy(header, "LUKS\xba\xbe\x00\x02")
	copy(header[168:], foreignLUKS)
	if err := os.WriteFile(luks, header, 0o644); err != nil {
		t.Fatal(err)
	}
	disks := []guest.Disk{{File: gpt}, {File: mbr}, {File: unsigned}, {File: large, BlockSize: 4096}, {File: luks}}
	for _, part := range btrfsOfTwo(t) {
		disks = append(disks, guest.Disk{File: part, Writable: true})
	}
	return disks
}

// btrfsOfTwo makes a btrfs of two devices. Only a mounted one can be filled.
func btrfsOfTwo(t *testing.T) []string {
	t.Helper()
	files := []string{empty(t, 128), empty(t, 128)}
	command(t, "", "mkfs.btrfs", "-q", "-L", "two", "-d", "raid0", "-m", "raid1", files[0], files[1])
	m := boot(t, image{disks: []guest.Disk{{File: files[0], Writable: true}, {File: files[1], Writable: true}},
		programs: map[string]string{"arcbox/busybox": built(t, "swapin/usr/bin/busybox")}, cmdline: []string{quiet}})
	must[probe.AtStart](t, m, "AtStart", none{})
	r := m.run(t, "/arcbox/busybox", "sh", "-ec", "cd /; b=/arcbox/busybox; $b mkdir two; $b mount -t btrfs -o device=/dev/vdb /dev/vda two; cd two; "+
		"$b mkdir "+smallRootDirs+"; printf two >name; cd /; $b umount two")
	if r.Code != 0 {
		t.Fatalf("fill the btrfs of two devices: %s%s", r.Stdout, r.Stderr)
	}
	m.Kill()
	_ = m.Wait()
	return files
}

// TestForeignRoots boots command lines that people have, each on the same disks. A root is named by the file in it. Where
// no root can come, the boot goes on in the initramfs, and the console has one line that says why. This project's kernel gives
// the same answers, but for XFS, which it lacks.
func TestForeignRoots(t *testing.T) {
	disks := foreignDisks(t)
	eachKernel(t, func(t *testing.T, k kernel) {
		if k.name == "stock" || k.name == "own" {
			testForeignRoots(t, k, disks)
		}
	})
}

func testForeignRoots(t *testing.T, k kernel, disks []guest.Disk) {
	share := map[string]string{"system/name": filepath.Join(smallRoot(t, "system"), "name")}
	for cmdline, want := range map[string]struct {
		root string // empty for the initramfs
		said []string
	}{
		"root=/dev/vda1":                                          {root: "the root"},
		"root='/dev/vda1' rw":                                     {root: "the root"},
		"root=UUID=" + foreignUUID:                                {root: "the root"},
		"root=UUID=" + strings.ToUpper(foreignUUID):               {root: "the root"},
		`root=UUID="` + foreignUUID + `"`:                         {root: "the root"},
		`"root=LABEL=the root"`:                                   {root: "the root"},
		`root=LABEL="the root"`:                                   {root: "the root"},
		`root="PARTLABEL=root part"`:                              {root: "the root"},
		"root=PARTUUID=" + foreignPart:                            {root: "the root"},
		"root=PARTUUID=" + strings.ToUpper(foreignPart):           {root: "the root"},
		"root=PARTUUID=" + foreignPart + "/PARTNROFF=1":           {root: "erofs"},
		"root=/dev/disk/by-uuid/" + foreignUUID:                   {root: "the root"},
		`root=/dev/disk/by-label/the\x20root`:                     {root: "the root"},
		"root=/dev/disk/by-partuuid/" + foreignPart + " rootwait": {root: "the root"},
		`root=/dev/disk/by-partlabel/root\x20part rootdelay=5`:    {root: "the root"},
		"root=254:1": {root: "the root"},
		"root=fe01":  {root: "the root"},
		"root=/dev/vda1 rootflags=noatime,commit=7":                 {root: "the root"},
		"root=/dev/vda1 rootflags=defaults,nofail,x-systemd.growfs": {root: "the root"},
		"root=/dev/vda1 rootflags=ro,data=ordered rw":               {root: "the root"},
		"root=/dev/vda1 rootfstype=auto rootflags=nodev,nosuid":     {root: "the root"},
		"root=/dev/vda2 rootfstype=ext4,auto":                       {root: "erofs"},
		"root=PARTLABEL=squashfs":                                   {root: "squashfs"},
		"root=LABEL=xfs rootwait":                                   {root: "xfs"},
		"root=LABEL=crc32c":                                         {root: "crc32c"},
		"root=LABEL=xxhash":                                         {root: "xxhash"},
		"root=LABEL=sha256":                                         {root: "sha256"},
		"root=LABEL=blake2b":                                        {root: "blake2b"},
		"root=LABEL=mbr":                                            {root: "mbr"},
		"root=PARTUUID=DEADBEEF-01":                                 {root: "mbr"},
		"root=PARTUUID=00000000-01":                                 {root: "unsigned"},
		"root=LABEL=4K":                                             {root: "4K"},
		"root=PARTLABEL=4K rootfstype=ext4":                         {root: "4K"},
		"root=LABEL=two":                                            {root: "two"},
		"root=/dev/vdg rootflags=noatime rw":                        {root: "two"},
		"root=virtiofs:system rw":                                   {root: "system"},
		"root=/dev/ram0 rw":                                         {},
		"root=/dev/root":                                            {},
		"root=/dev/mapper/system-root rootwait":                     {said: []string{"LVM"}},
		"root=/dev/system/root rootwait":                            {said: []string{"LVM"}},
		"root=UUID=" + foreignLUKS + " rootwait":                    {said: []string{"crypto_LUKS", "does not support"}},
		"root=/dev/nfs nfsroot=10.0.2.2:/root rootwait":             {said: []string{"NFS"}},
		"root=ZFS=rpool/root rootwait":                              {said: []string{"ZFS"}},
		"root=/dev/disk/by-id/virtio-system rootwait":               {said: []string{"/dev/disk/by-id/virtio-system", "PARTUUID="}},
		"root=/dev/vde rootwait":                                    {said: []string{"root=/dev/vde", "crypto_LUKS", "does not support"}},
		"root=LABEL=crc32c rootflags=subvol=missing rootwait":       {said: []string{"rootflags=subvol=missing", "no such file or directory"}},
		"root=/dev/vda1 rootflags=nosuch rootwait":                  {said: []string{"rootflags=nosuch", "invalid argument"}},
		"root=virtiofs:system rootflags=nosuch rootwait":            {said: []string{"rootflags=nosuch", "invalid argument"}},
		"root=/dev/vda1 rootfstype=nosuch rootwait":                 {said: []string{"nosuch", "no such device"}},
		"root=LABEL=old rootwait=1":                                 {said: []string{"root=LABEL=old", "1s"}},
	} {
		t.Run(strings.NewReplacer("/", "|", ",", ";").Replace(cmdline), func(t *testing.T) {
			t.Parallel()
			// No guest changes a disk of the others.
			m := boot(t, k.on(t, image{disks: disks, tags: []string{"system"}, programs: share, qemu: []string{"-snapshot"}, cmdline: []string{quiet, cmdline}}))
			must[probe.AtStart](t, m, "AtStart", none{})
			if k.name == "own" && want.root == "xfs" {
				want.root, want.said = "", []string{"root=LABEL=xfs", "CONFIG_XFS_FS", "no such device"}
			}
			if len(want.said) > 0 {
				said(t, m, append([]string{"switchroot"}, want.said...)...)
			}
			name := ""
			if len(must[[]string](t, m, "Glob", "/name")) > 0 {
				name = m.read(t, "/name")
			}
			if name != want.root {
				t.Errorf("the root is %q, want %q", name, want.root)
			}
		})
	}
}

// TestBtrfsInParts has one of the two devices of a btrfs. It is the root once the other one is plugged in.
func TestBtrfsInParts(t *testing.T) {
	t.Parallel()
	parts := btrfsOfTwo(t)
	im := image{disks: []guest.Disk{{File: parts[0]}}, qemu: []string{"-device", "pcie-root-port,id=socket,chassis=1,slot=1"}}
	im.cmdline = []string{quiet, "root=LABEL=two rootwait=1"}
	m := boot(t, im)
	must[probe.AtStart](t, m, "AtStart", none{})
	said(t, m, "switchroot", "root=LABEL=two", "other devices of the btrfs on /dev/vda")
	im.cmdline = []string{quiet, "root=LABEL=two rootwait"}
	m = boot(t, im)
	said(t, m, "still waiting", "root=LABEL=two")
	plugIn(t, m, parts[1], "socket")
	must[probe.AtStart](t, m, "AtStart", none{})
	if name := m.read(t, "/name"); name != "two" {
		t.Errorf("the root is %q", name)
	}
}
