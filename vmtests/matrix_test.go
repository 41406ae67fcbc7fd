package vmtests

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// kernel is a kernel that TestRows can boot.
type kernel struct {
	// name is the name in docs/matrix.md. Its first word is the kernel's name in KERNELS: stock is the kernel of this machine's
	// release, own is built from kernel-config, others are Debian releases. The second word is the kind of boot, if the
	// kernel boots without an initramfs.
	name, arch string
	// image, initrd and config are files in the build directory of the architecture. initrd can be a disk instead.
	image, initrd, config string
	// lacks holds the rows that do not work on this kernel, and why. A reason that
	// begins with CONFIG_ is a line of the kernel's configuration.
	lacks map[string]string
}

// own reports whether the kernel is this project's own.
func (k kernel) own() bool { return k.image == "kernel" }

// kernels lists the kernels that docs/matrix.md has a line for.
func kernels() []kernel {
	stock := func(name, arch, dir string, lacks map[string]string) kernel {
		return kernel{name, arch, dir + "vmlinuz-stock", dir + "initramfs-modules.cpio", dir + "stock/config", lacks}
	}
	own := func(arch string) kernel {
		return kernel{"own", arch, "kernel", "initramfs.cpio", "kernel.config", nil}
	}
	// Without an initramfs: this program is the disk's own /sbin/init.
	disk := func(arch string) kernel {
		return kernel{"own disk", arch, "kernel", "disk.erofs", "kernel.config", nil}
	}
	return []kernel{
		stock("bookworm", "amd64", "kernels/bookworm/", nil),
		stock("stock", "amd64", "", nil),
		stock("trixie-backports", "amd64", "kernels/trixie-backports/", nil),
		own("amd64"), disk("amd64"),
		// Without ACPI, for which it takes UEFI firmware, QEMU's button is a key on a GPIO.
		stock("stock", "arm64", "", map[string]string{"powerbutton": "CONFIG_KEYBOARD_GPIO is not set"}),
		own("arm64"), disk("arm64"),
	}
}

// seen is the result of TestRows with a kernel.
type seen struct {
	kernel
	linux  string // the kernel's version
	proved int    // the number of rows
}

// line returns the kernel's line of docs/matrix.md.
func (s seen) line() string {
	lacks := make([]string, 0, len(s.lacks))
	for row, why := range s.lacks {
		lacks = append(lacks, row+": "+why)
	}
	slices.Sort(lacks)
	return fmt.Sprintf("| %s | %s | %s | `%s` | %d of %d | %s |", s.arch, s.name, s.linux,
		filepath.Base(s.initrd), s.proved, s.proved+len(lacks), strings.Join(lacks, "; "))
}

// inTable matches the line of this kernel in docs/matrix.md's table.
func (k kernel) inTable() *regexp.Regexp {
	return regexp.MustCompile(fmt.Sprintf(`(?m)^\| %s \| %s \| ([0-9.]*) ?\|.*$`, k.arch, regexp.QuoteMeta(k.name)))
}

const matrix = "../docs/matrix.md"

// TestMatrixHasEachKernel checks that docs/matrix.md has one line for each kernel, and no other.
func TestMatrixHasEachKernel(t *testing.T) {
	text, err := os.ReadFile(matrix)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range kernels() {
		if n := len(k.inTable().FindAll(text, -1)); n != 1 {
			t.Errorf("docs/matrix.md has %d lines for %s on %s, want one: run make matrix", n, k.name, k.arch)
		}
	}
	if n := len(regexp.MustCompile(`(?m)^\| (amd64|arm64) \|`).FindAll(text, -1)); n != len(kernels()) {
		t.Errorf("docs/matrix.md has %d kernels, the tests know %d", n, len(kernels()))
	}
}

// checkMatrix compares docs/matrix.md with the result. With UPDATE set in the environment
// it writes the result to docs/matrix.md. It ignores the kernel's version, because
// distributions update their kernels.
func checkMatrix(t *testing.T, s seen) {
	t.Helper()
	text, err := os.ReadFile(matrix)
	if err != nil {
		t.Fatal(err)
	}
	found := s.inTable().FindSubmatch(text)
	if found == nil {
		t.Fatalf("docs/matrix.md has no line for %s on %s", s.name, s.arch)
	}
	if os.Getenv("UPDATE") != "" {
		text = s.inTable().ReplaceAllLiteral(text, []byte(s.line()))
		if err := os.WriteFile(matrix, text, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	s.linux = string(found[1])
	if got, want := string(found[0]), s.line(); got != want {
		t.Errorf("docs/matrix.md says\n%s\nbut the test found (make matrix writes it):\n%s", got, want)
	}
}
