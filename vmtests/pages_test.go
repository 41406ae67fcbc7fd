//go:build vmtest

package vmtests

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/arcinit/arcinit/vmtests/guest"
	"github.com/arcinit/arcinit/vmtests/pages"
)

// documentedConfig gives each command of the pages something to show.
const documentedConfig = `
[[binfmt]]
name = "sparc"
interpreter = "/bin/busybox"
magic = '\x7fELF\x01\x02\x01'
`

// TestDocumentedCommands runs each command in README and the pages of docs: in a guest, on the host with that guest's reports, or, for
// what make does, as far as make says what it would do. Commands of the examples' pages have tests of their own.
func TestDocumentedCommands(t *testing.T) {
	t.Parallel()
	m := boot(t, image{nics: bothNICs(), disks: []guest.Disk{{File: erofsDisk(t, swapinTree(t, nil))}}, cmdline: []string{"root=/dev/vda"},
		shared: map[string]string{"etc/arcinit.toml": documentedConfig}})
	m.waitReport(t)
	eventually(t, func() string {
		if !strings.Contains(m.read(t, "/etc/hosts"), "host.docker.internal") {
			return "the primary NIC has no lease"
		}
		return ""
	})

	dir := t.TempDir()
	command(t, "", "go", "build", "-o", dir, "../cmd/arcinit")
	command(t, "", "mkdir", filepath.Join(dir, "log"))
	for name, text := range map[string]string{
		"boot.json": m.get("log/boot.json"), "before.json": m.get("log/boot.json"), "after.json": m.get("log/boot.json"), "log/boot.json": m.get("log/boot.json"),
		"net.json": m.read(t, "/run/arcbox/net.json"), "arcinit.toml": documentedConfig, "image.toml": "[host]\nallow = [\"log\"]\n", "host.toml": "log = \"warn\"\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	command(t, "", "sh", "-c", "cd "+dir+" && sha256sum boot.json >SHA256SUMS")

	var ran []string
	for _, path := range []string{"../README.md", "../docs"} {
		all, err := pages.Read(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range all {
			for _, command := range p.Commands() {
				program, _, _ := strings.Cut(command, " ")
				if slices.Contains(ran, command) {
					continue
				}
				ran = append(ran, command)
				var err error
				switch program {
				case "uinit", "cat", "grep", "ls", "dmesg":
					command = strings.ReplaceAll(command, "/PID/", fmt.Sprintf("/%d/", serviceStatus(t, m, "netd").PID))
					if r := m.run(t, "/bin/sh", "-c", "PATH=$PATH:/run/arcbox/bin; "+command); r.Code != 0 || r.Stdout == "" {
						err = fmt.Errorf("exit code %d, output %q, %s", r.Code, r.Stdout, r.Stderr)
					}
				case "arcinit", "sha256sum":
					err = shell(dir, command, dir)
				case "go":
					err = shell("..", strings.Replace(command, "go build", "go build -o "+dir, 1), dir)
				case "make":
					err = shell("..", strings.Replace(command, "make", "make --dry-run", 1), dir)
				default:
					err = fmt.Errorf("this test does not know where to run %s", program)
				}
				if err != nil {
					t.Errorf("%s: %s: %v", p.Path, command, err)
				}
			}
		}
	}
	if len(ran) < 20 {
		t.Errorf("only %d commands ran: %q", len(ran), ran)
	}
}
