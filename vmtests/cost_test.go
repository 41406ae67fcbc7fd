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
// its line about /init on. The aim is 14 ms; the limit is a tenth above what it is.
func TestTimeToNetworks(t *testing.T) {
	if os.Getenv("FULL") == "" || arch() != "amd64" {
		t.Skip("this is for FULL=1, which builds that kernel, on amd64")
	}
	const limit = 16500 * time.Microsecond
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
	at("stopwatch: networks") // it has seen the addresses
	networks := max(at("netd: NIC configured nic=eth0"), at("netd: NIC configured nic=eth1")) - init
	t.Logf("from /init to both networks %v, to the agent's first instructions %v", networks, at("stopwatch: agent")-init)
	if networks > limit {
		t.Errorf("both networks are there after %v, more than %v", networks, limit)
	}
}
