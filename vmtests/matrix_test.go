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

// kernel is one that TestRows boots.
type kernel struct {
	// name is what it is called in README: stock is this machine's release's,
	// own is kernel-config's, others are of Debian's release of that name.
	name, arch string
	// image, initrd and config are files in the build directory of the architecture.
	image, initrd, config string
	// lacks are the rows that it cannot have, and why. A reason that begins with
	// CONFIG_ is a line of the kernel's configuration.
	lacks map[string]string
}

// kernels are all of them. With FULL set in the environment each is booted, else
// the stock ones alone.
func kernels() []kernel {
	stock := func(name, arch, dir string, lacks map[string]string) kernel {
		return kernel{name, arch, dir + "vmlinuz-stock", dir + "initramfs-modules.cpio", dir + "stock/config", lacks}
	}
	own := func(arch string) kernel {
		return kernel{"own", arch, "kernel", "initramfs.cpio", "kernel.config", nil}
	}
	return []kernel{
		stock("bookworm", "amd64", "kernels/bookworm/", nil),
		stock("stock", "amd64", "", nil),
		stock("trixie-backports", "amd64", "kernels/trixie-backports/", nil),
		own("amd64"),
		// Without ACPI, for which it takes UEFI firmware, QEMU's button is a key on a GPIO.
		stock("stock", "arm64", "", map[string]string{"powerbutton": "CONFIG_KEYBOARD_GPIO is not set"}),
		own("arm64"),
	}
}

// seen is what TestRows has found with a kernel.
type seen struct {
	kernel
	linux  string // its version
	proved int    // the number of rows
}

// line is what README says of it.
func (s seen) line() string {
	lacks := make([]string, 0, len(s.lacks))
	for row, why := range s.lacks {
		lacks = append(lacks, row+": "+why)
	}
	slices.Sort(lacks)
	return fmt.Sprintf("| %s | %s | %s | `%s` | %d of %d | %s |", s.arch, s.name, s.linux,
		filepath.Base(s.initrd), s.proved, s.proved+len(lacks), strings.Join(lacks, "; "))
}

// inTable matches the line of this kernel in README's table.
func (k kernel) inTable() *regexp.Regexp {
	return regexp.MustCompile(fmt.Sprintf(`(?m)^\| %s \| %s \| ([0-9.]*) ?\|.*$`, k.arch, regexp.QuoteMeta(k.name)))
}

const readme = "../README.md"

// TestMatrixInREADME looks whether README has a line for each kernel, and no other.
func TestMatrixInREADME(t *testing.T) {
	text, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range kernels() {
		if n := len(k.inTable().FindAll(text, -1)); n != 1 {
			t.Errorf("README has %d lines for %s on %s, want one: make matrix writes what there is to say", n, k.name, k.arch)
		}
	}
	if n := len(regexp.MustCompile(`(?m)^\| (amd64|arm64) \|`).FindAll(text, -1)); n != len(kernels()) {
		t.Errorf("README has %d kernels, the tests know %d", n, len(kernels()))
	}
}

// checkREADME compares README with what was seen, or with UPDATE set in the
// environment puts that there. A distribution's kernel gets new versions, which
// is no reason to fail.
func checkREADME(t *testing.T, s seen) {
	t.Helper()
	text, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	found := s.inTable().FindSubmatch(text)
	if found == nil {
		t.Fatalf("README has no line for %s on %s", s.name, s.arch)
	}
	if os.Getenv("UPDATE") != "" {
		text = s.inTable().ReplaceAllLiteral(text, []byte(s.line()))
		if err := os.WriteFile(readme, text, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	s.linux = string(found[1])
	if got, want := string(found[0]), s.line(); got != want {
		t.Errorf("README says\n%s\nand this is so (make matrix writes it there):\n%s", got, want)
	}
}
