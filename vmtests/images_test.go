//go:build vmtest

package vmtests

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/arcinit/arcinit/vmtests/guest"
	"github.com/arcinit/arcinit/vmtests/probe"
	"github.com/u-root/mkuimage/cpio"
	"golang.org/x/sys/unix"
)

// programs lists the executable files and the links in an image.
func programs(t *testing.T, path string) []string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // only read from
	var names []string
	err = cpio.ForEachRecord(cpio.Newc.Reader(f), func(r cpio.Record) error {
		executable := r.Mode&unix.S_IFMT == unix.S_IFREG && r.Mode&0o111 != 0
		if executable || r.Mode&unix.S_IFMT == unix.S_IFLNK {
			names = append(names, r.Name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	return names
}

func TestProductionImages(t *testing.T) {
	t.Parallel()
	const limit = 5_080_000
	plain := built(t, "initramfs.cpio")
	if st, err := os.Stat(plain); err != nil || st.Size() > limit {
		t.Errorf("%s has %d bytes, more than %d", plain, st.Size(), limit)
	}
	for _, path := range []string{plain, built(t, "initramfs-modules.cpio")} {
		if got := programs(t, path); !slices.Equal(got, []string{"bin/uinit", "init"}) {
			t.Errorf("%s has the programs and links %v, want only uinit and init", path, got)
		}
	}
}

// TestSameSourcesSameBytes builds the production image again in another directory.
// It is not parallel, because the compiler would slow guests down.
func TestSameSourcesSameBytes(t *testing.T) {
	dir := t.TempDir()
	for _, part := range []string{"go.mod", "go.sum", "cmd", "internal", "pkg", "scripts"} {
		if out, err := exec.Command("cp", "-a", "../"+part, dir).CombinedOutput(); err != nil {
			t.Fatalf("copy %s: %v\n%s", part, err, out)
		}
	}
	image := filepath.Join(dir, "initramfs.cpio")
	build := exec.Command("scripts/initramfs.sh", "plain", image)
	build.Dir = dir
	// The copy has no git history, so the environment sets the time and the version (TestBuilt).
	date, version := buildOf(t)
	build.Env = append(os.Environ(), fmt.Sprint("SOURCE_DATE_EPOCH=", date.Unix()), "ARCINIT_VERSION="+version)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	one, err := os.ReadFile(built(t, "initramfs.cpio"))
	if err != nil {
		t.Fatal(err)
	}
	two, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(one, two) {
		t.Errorf("the images differ; they have %d and %d bytes", len(one), len(two))
	}
}

// TestProductionImageBoots boots the image without modules. The stock kernel has
// virtiofs built in, so the share and the agent work, but no NIC does.
func TestProductionImageBoots(t *testing.T) {
	t.Parallel()
	m := boot(t, image{initrd: "initramfs.cpio", cmdline: []string{quiet}})
	start := must[probe.AtStart](t, m, "AtStart", none{})
	if start.PPID != 1 {
		t.Errorf("the agent's parent is process %d", start.PPID)
	}
	outcome(t, m, "modules", "unavailable")
	outcome(t, m, "share", "ok")
	testPlan(t, m)
	if mode := m.stat(t, "/").Mode.Perm(); mode != 0o755 {
		t.Errorf("/ has mode %v; with mkuimage's 0700 only root can use it", mode)
	}
}

// TestDebugConsole types into the shell of the debug image.
func TestDebugConsole(t *testing.T) {
	t.Parallel()
	m := boot(t, image{initrd: "initramfs-debug.cpio", nics: []guest.NIC{guest.PrimaryNIC()},
		cmdline: []string{quiet, "arcbox.debug_console"}})
	// Answer the shell's question from the start, because it does not wait long.
	typeInShell(t, m, "echo $((6*7)) is the answer\r", "42 is the answer")
	m.waitConsole(t, "agent started") // the table of the boot
}

// TestDebugConsoleAtOnce waits for a root that never appears. The shell starts all the
// same, starts again after its end, and a shutdown works in the middle of the boot.
func TestDebugConsoleAtOnce(t *testing.T) {
	t.Parallel()
	m := boot(t, image{initrd: "initramfs-debug.cpio", cmdline: []string{"root=/dev/nowhere", "rootwait", "arcbox.debug_console"}})
	typeInShell(t, m, "echo $((6*7)) is the answer\r", "42 is the answer")
	typeInShell(t, m, "exit\r", "service ended service=console")
	typeInShell(t, m, "echo $((7*7)) is too\r", "49 is too")
	m.waitConsole(t, `still waiting for="root=/dev/nowhere"`)
	m.ctrlAltDel(t)
	m.waitConsole(t, "shutting down to=reboot")
	m.waitEnd(t, "guest-reset")
}

// TestDebugConsoleOfRoot has no shell in the initramfs. The root has busybox's, which
// ignores SIGTERM as shells do.
func TestDebugConsoleOfRoot(t *testing.T) {
	t.Parallel()
	m := boot(t, image{disks: []guest.Disk{{File: erofsDisk(t, swapinTree(t, nil))}},
		cmdline: []string{quiet, "root=/dev/vda", "arcbox.debug_console"}})
	typeInShell(t, m, "echo $((6*7)) is the answer\r", "42 is the answer")
	typeInShell(t, m, "cat /proc/self/mountinfo\r", " / / ro,relatime shared:1 - erofs /dev/vda ")
	if got := m.waitReport(t)["console"]; got.Outcome == "failed" || !strings.Contains(got.Error, "/bin/sh: no such file") {
		t.Errorf("step console is %+v", got)
	}
	testPowerOff(t, m)
	if strings.Contains(m.get("log/arcinit.log"), "SIGKILL") {
		t.Error("the shell had to be killed")
	}
}

// typeInShell types a text again and again until the console shows want.
func typeInShell(t *testing.T, m *machine, text, want string) {
	t.Helper()
	// Before it reads a line, u-root's shell asks the terminal for the position of
	// the cursor (ECMA-48, DSR).
	const where, here = "\x1b[6n", "\x1b[1;1R"
	answered := 0
	eventually(t, func() string {
		if strings.Contains(m.ConsoleText(), want) {
			return ""
		}
		typed := text
		if asked := strings.Count(m.ConsoleText(), where); asked > answered {
			answered, typed = asked, here+typed
		}
		if err := m.Type(typed); err != nil {
			return err.Error()
		}
		return fmt.Sprintf("the console does not show %q", want)
	})
}
