//go:build vmtest

package vmtests

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/arcinit/arcinit/pkg/arcsetup"
	"github.com/arcinit/arcinit/vmtests/probe"
)

// own are files of the guest as the boot leaves them. Something on the share leads to each of them. /etc/hosts would
// have another host name, if arcinit followed the link to planted.toml.
var own = map[string]string{
	"/etc/passwd":       "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/sbin/nologin\nkept:x:7:7::/:/bin/sh\n",
	"/etc/group":        "root:x:0:\ntty:x:5:\nnobody:x:65534:\nkept:x:7:\n",
	"/etc/hosts":        "127.0.0.1\tlocalhost\n::1\tlocalhost\n127.0.1.1\tarcbox\n192.0.2.7\tkept\n",
	"/etc/planted.toml": "hostname = \"planted\"\n",
}

// TestPlanted boots from shares on which something else is in the place of the files that arcinit reads and writes
// there. It must open and follow nothing of that, and name what it cannot use.
func TestPlanted(t *testing.T) {
	t.Parallel()
	const fifo, dir, large = "FIFO", "directory", "1 GB" // anything else is the target of a link
	for name, tt := range map[string]struct {
		planted map[string]string
		named   []string // paths, each on one line
		failed  []string // steps
	}{
		"FIFOs in etc and links in log": {
			planted: map[string]string{
				"etc/arcinit.toml": fifo, "etc/machine-id": fifo,
				"log/boot.json": "/etc/hosts", "log/boot.json.new": "/etc/group",
				"log/arcinit.log": "/etc/passwd", "log/arcinit.log.1": "../../etc/group", "log/services.log": "/etc/hosts",
			},
			named: []string{"etc/arcinit.toml", "etc/machine-id"},
		},
		"links in etc and FIFOs in log": {
			planted: map[string]string{
				"etc/arcinit.toml": "/etc/planted.toml", "etc/machine-id": "/etc/hosts", "etc/machine-id.new": "/etc/hosts",
				"log/boot.json": fifo, "log/boot.json.new": fifo, "log/arcinit.log": fifo, "log/arcinit.log.1": fifo, "log/services.log": fifo,
			},
			named: []string{"etc/arcinit.toml", "etc/machine-id"},
		},
		"etc is a link": {
			planted: map[string]string{
				"etc": "/etc", "log/boot.json": dir, "log/arcinit.log": large, "log/arcinit.log.1": dir, "log/services.log": large,
			},
			named:  []string{"etc/arcinit.toml", "etc/machine-id", "log/boot.json", "log/arcinit.log"},
			failed: []string{"log"},
		},
		"log is a link": {
			planted: map[string]string{"etc/arcinit.toml": dir, "etc/machine-id": large, "log": "/etc"},
			named:   []string{"etc/arcinit.toml", "etc/machine-id", "log/boot.json", "log/arcinit.log", "log/services.log"},
			failed:  []string{"log"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := boot(t, image{cmdline: []string{quiet}, files: own, prepare: func(share string) {
				for path, kind := range tt.planted {
					path = filepath.Join(share, path)
					err := os.MkdirAll(filepath.Dir(path), 0o755)
					switch {
					case err != nil:
					case kind == fifo:
						err = syscall.Mkfifo(path, 0o644)
					case kind == dir:
						err = os.MkdirAll(filepath.Join(path, "full"), 0o755)
					case kind == large:
						if err = os.WriteFile(path, nil, 0o644); err == nil {
							err = os.Truncate(path, 1<<30)
						}
					default:
						err = os.Symlink(kind, path)
					}
					if err != nil {
						t.Fatal(err)
					}
				}
			}})
			comesUp(t, m, slices.Clone(tt.failed)...)
			if id := m.read(t, "/etc/machine-id"); !regexp.MustCompile(`^[0-9a-f]{32}\n$`).MatchString(id) {
				t.Errorf("the machine ID is %q", id)
			}
			must[none](t, m, "Say", [2]string{"a line of the agent", ""})
			for _, path := range []string{"log/boot.json", "log/arcinit.log", "log/services.log"} {
				if !slices.Contains(tt.named, path) {
					eventually(t, func() string {
						if st, err := os.Lstat(filepath.Join(m.dirs["arcbox"], path)); err != nil || !st.Mode().IsRegular() || st.Size() == 0 || st.Size() > 2<<20 {
							return fmt.Sprintf("%s is %+v, %v", path, st, err)
						}
						return ""
					})
				}
			}
			for _, path := range tt.named {
				path = "/arcbox/" + path + ": "
				logged(t, m, "arcinit: ", path)
				said(t, m, "arcinit: ", path)
			}
			for _, path := range tt.named {
				var lines []string
				for _, r := range must[[]probe.Record](t, m, "KernelLog", none{}) {
					if strings.Contains(r.Text, "/arcbox/"+path+": ") {
						lines = append(lines, r.Text)
					}
				}
				if len(lines) != 1 {
					t.Errorf("%d lines name %s, want one: %q", len(lines), path, lines)
				}
			}
			for path, want := range own {
				if got := m.read(t, path); got != want {
					t.Errorf("%s is now %q", path, got)
				}
			}
			for _, pattern := range []string{"/etc/*boot.json*", "/etc/*arcinit*", "/etc/*.log*"} {
				if files := must[[]string](t, m, "Glob", pattern); len(files) > 0 {
					t.Errorf("the guest has %q", files)
				}
			}
			// The agent may have ended before it can answer.
			if r, err := ask[probe.Result](m, "Run", probe.Command{Argv: []string{arcsetup.ProgramPath, "poweroff"}}); err == nil && r.Code != 0 {
				t.Fatalf("uinit poweroff ended with code %d: %s", r.Code, r.Stderr)
			}
			m.waitEnd(t, "guest-shutdown")
		})
	}
}
