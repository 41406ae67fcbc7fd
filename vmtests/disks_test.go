//go:build vmtest

package vmtests

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// command runs a program on the host. Its directory may be /usr/sbin, which PATH need
// not have.
func command(t *testing.T, stdin, name string, args ...string) {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		path = "/usr/sbin/" + name
	}
	cmd := exec.Command(path, args...)
	cmd.Stdin = strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
}

// swapinTree makes the tree of a container VM's own disk, and adds files.
func swapinTree(t *testing.T, files map[string]string) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "tree")
	// os.CopyFS cannot copy the tree's symbolic links.
	command(t, "", "cp", "-a", built(t, "swapin"), dir)
	addFiles(t, dir, files)
	return dir
}

// addFiles writes files into a tree, by their paths in it.
func addFiles(t *testing.T, tree string, files map[string]string) {
	t.Helper()
	for path, text := range files {
		path = filepath.Join(tree, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// erofsDisk packs a tree into an EROFS.
func erofsDisk(t *testing.T, tree string) (file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "erofs")
	command(t, "", "mkfs.erofs", "--all-root", file, tree)
	return file
}

// ext4Disk packs a tree into an ext4 of 64 MiB with a label.
func ext4Disk(t *testing.T, tree, label string) (file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "ext4")
	command(t, "", "mke2fs", "-q", "-t", "ext4", "-L", label, "-E", "root_owner=0:0", "-d", tree, file, "64m")
	return file
}

// gptDisk puts a file system into the second partition of a disk.
func gptDisk(t *testing.T, fileSystem, uuid, label string) (file string) {
	t.Helper()
	content, err := os.ReadFile(fileSystem)
	if err != nil {
		t.Fatal(err)
	}
	// The first MiB holds the partition table, the second the first partition, the
	// end a copy of the table.
	const start = 2 << 20
	size := int64(start + len(content) + 2<<20)
	file = filepath.Join(t.TempDir(), "gpt")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // what is written is checked
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	command(t, fmt.Sprintf("label: gpt\nstart=2048, size=2048, name=other\nstart=4096, size=%d, uuid=%s, name=%s\n",
		(len(content)+511)/512, uuid, label), "sfdisk", "-q", file)
	if _, err := f.WriteAt(content, start); err != nil {
		t.Fatal(err)
	}
	return file
}
