//go:build vmtest

package vmtests

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/arcinit/arcinit/vmtests/guest"
)

// TestTimeToNetworks holds the boot of the production image to what it may cost,
// counted in instructions: with three shares and two NICs whose servers answer at
// once, on a kernel with everything built in. The times are the kernel's own, from
// its line about /init on.
func TestTimeToNetworks(t *testing.T) {
	const limit = 14 * time.Millisecond
	share := t.TempDir()
	agent := filepath.Join(share, "bin", "arcbox-agent")
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", agent, "./stopwatch")
	build.Env = append(os.Environ(), "GOOS=linux", "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the stopwatch: %v\n%s", err, out)
	}
	vm, err := guest.Start(t.Context(), guest.Config{
		Accel: guest.Counted, Kernel: built(t, "kernel"), Initrd: built(t, "initramfs.cpio"), Cmdline: []string{"quiet"},
		Shares: []guest.Share{{Tag: "arcbox", Dir: share}, {Tag: "private", Dir: t.TempDir()}, {Tag: "users", Dir: t.TempDir()}},
		NICs:   []guest.NIC{guest.PrimaryNIC(), guest.BridgeNIC()},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := vm.Wait(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(share, "kmsg"))
	if err != nil {
		t.Fatalf("%v; the guest's console:\n%s", err, vm.ConsoleText())
	}
	at := func(what string) time.Duration {
		m := regexp.MustCompile(`(?m)^\d+,\d+,(\d+),[^;]*;` + what).FindSubmatch(text)
		if m == nil {
			t.Fatalf("no %q in the kernel log:\n%s", what, text)
		}
		µs, _ := strconv.Atoi(string(m[1]))
		return time.Duration(µs) * time.Microsecond
	}
	init := at("Run /init as init process")
	networks := at("stopwatch: networks") - init
	t.Logf("from /init to the agent's first instructions %v, to both networks %v", at("stopwatch: agent")-init, networks)
	if networks > limit {
		t.Errorf("both networks are there after %v, more than %v", networks, limit)
	}
}
