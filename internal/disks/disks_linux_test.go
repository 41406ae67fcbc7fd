package disks

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// withDisk adds a block device below root, a partition where it has a number.
func withDisk(t *testing.T, root string, content []byte, path ...string) {
	t.Helper()
	dir := filepath.Join(root, filepath.Join(append([]string{"/sys/devices"}, path...)...))
	name := path[len(path)-1]
	files := map[string]string{"size": "2048\n"}
	if len(path) > 1 {
		files["partition"] = name[len(path[0]):] + "\n"
	} else {
		files["queue/logical_block_size"] = "512\n"
	}
	for file, text := range files {
		if err := errors.Join(
			os.MkdirAll(filepath.Dir(filepath.Join(dir, file)), 0o755),
			os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644),
		); err != nil {
			t.Fatal(err)
		}
	}
	node := filepath.Join(root, blockDevice{name: name}.path())
	if err := errors.Join(
		os.MkdirAll(filepath.Join(root, "/sys/class/block"), 0o755),
		os.Symlink(dir, filepath.Join(root, "/sys/class/block/"+name)),
		os.MkdirAll(filepath.Dir(node), 0o755),
		os.WriteFile(node, content, 0o644),
	); err != nil {
		t.Fatal(err)
	}
}

func TestFind(t *testing.T) {
	root := t.TempDir()
	if got := Describe(root); got != "there is no block device" {
		t.Errorf("without a device, Describe returned %q", got)
	}
	mbr, erofs := make([]byte, 512), make([]byte, 4096)
	copy(mbr[440:], "\x78\x56\x34\x12")
	copy(mbr[510:], "\x55\xaa")
	copy(erofs[1024:], "\xe2\xe1\xf5\xe0")
	copy(erofs[1024+48:], "\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff")
	copy(erofs[1024+64:], "the root")
	withDisk(t, root, mbr, "vda")
	withDisk(t, root, nil, "vda", "vda1")
	withDisk(t, root, erofs, "vda", "vda2")
	withDisk(t, root, erofs, "cciss!c0d0")
	withDisk(t, root, nil, "sr0")
	if err := os.WriteFile(filepath.Join(root, "/sys/devices/sr0/size"), []byte("0\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.MkdirAll(filepath.Join(root, "/sys/dev/block"), 0o755),
		os.Symlink(filepath.Join(root, "/sys/devices/vda/vda2"), filepath.Join(root, "/sys/dev/block/254:2"))); err != nil {
		t.Fatal(err)
	}
	for device, want := range map[string]string{
		"/dev/vda":                       "/dev/vda",
		"254:2":                          "/dev/vda2",
		"fe02":                           "/dev/vda2",
		"/dev/block/254:2":               "/dev/vda2",
		`LABEL="the root"`:               "/dev/cciss/c0d0",
		`/dev/disk/by-label/the\x20root`: "/dev/cciss/c0d0",
		"/dev/disk/by-uuid/00112233-4455-6677-8899-aabbccddeeff": "/dev/cciss/c0d0",
		"/dev/disk/by-partuuid/12345678-02":                      "/dev/vda2",
		"PARTUUID=12345678-01/PARTNROFF=1":                       "/dev/vda2",
		"PARTUUID=12345678-02/PARTNROFF=-1":                      "/dev/vda1",
		"LABEL=the root":                                         "/dev/cciss/c0d0", // the first of two
		"UUID=00112233-4455-6677-8899-AABBCCDDEEFF":              "/dev/cciss/c0d0",
		"PARTUUID=12345678-02":                                   "/dev/vda2",
	} {
		if got, err := Find(root, device); err != nil || got != want {
			t.Errorf("Find(%s) = %s, %v, want %s", device, got, err, want)
		}
	}
	for _, device := range []string{"/dev/vdz", "LABEL=the", "UUID=0", "PARTUUID=12345678-03", "PARTLABEL=the root", "254:0", "PARTUUID=12345678-02/PARTNROFF=1"} {
		if got, err := Find(root, device); !errors.Is(err, ErrNotThere) {
			t.Errorf("Find(%s) = %s, %v", device, got, err)
		}
	}
	for device, want := range map[string]string{
		"LABEL=": "PARTUUID=", "PARTLABEL=": "PARTUUID=", "NAME=x": "PARTUUID=", "system": "virtiofs:TAG", "/dev/disk/by-id/virtio-root": "PARTUUID=",
		"nfs:10.0.0.1:/": "NFS", "/dev/nfs": "NFS", "/dev/mapper/system-root": "LVM", "ZFS=rpool/root": "ZFS", "/dev/md0": "RAID",
		"/dev/md/root": "RAID", "/dev/system/root": "LVM", "/dev/zvol/rpool/root": "ZFS", "/dev/bcache0": "bcache", "/dev/loop0p1": "loop", "//host/root": "CIFS",
		"PARTUUID=12345678-01/PARTNROFF=x": "PARTNROFF",
	} {
		if got, err := Find(root, device); err == nil || errors.Is(err, ErrNotThere) || !strings.Contains(err.Error(), want) {
			t.Errorf("Find(%s) = %s, %v, want %s in the error", device, got, err, want)
		}
	}
	want := "block devices are cciss!c0d0 (1.0 MiB, erofs, LABEL=the root, UUID=00112233-4455-6677-8899-aabbccddeeff), " +
		"vda (1.0 MiB), vda1 (1.0 MiB, PARTUUID=12345678-01), " +
		"vda2 (1.0 MiB, erofs, LABEL=the root, UUID=00112233-4455-6677-8899-aabbccddeeff, PARTUUID=12345678-02)"
	if got := Describe(root); got != want {
		t.Errorf("it is said:\n%s\nwant\n%s", got, want)
	}
}
