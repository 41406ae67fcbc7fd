//go:build vmtest

package vmtests

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/arcinit/arcinit/vmtests/guest"
)

// TestTimeToNetworks holds the boot of the production image to what it may cost,
// counted in instructions: with three shares and two NICs whose servers answer at
// once, on a kernel with everything built in. The times are the kernel's own, from
// its line about /init on. While the guest waits for the host its clock jumps to the
// next timer, however soon the answer is there; what the boot costs is the least of
// some boots, since that only adds to it.
func TestTimeToNetworks(t *testing.T) {
	if os.Getenv("FULL") == "" || arch() != "amd64" {
		t.Skip("this is for FULL=1, which builds that kernel, on amd64")
	}
	const limit, boots = 14 * time.Millisecond, 3
	share := t.TempDir()
	agent := filepath.Join(share, "bin", "arcbox-agent")
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", agent, "./stopwatch")
	build.Env = append(os.Environ(), "GOOS=linux", "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the stopwatch: %v\n%s", err, out)
	}
	var took []time.Duration
	for range boots {
		networks, agent := timeToNetworks(t, share)
		t.Logf("from /init to both networks %v, to the agent's first instructions %v", networks, agent)
		took = append(took, networks)
	}
	if least := slices.Min(took); least > limit {
		t.Errorf("both networks are there after %v at the least, more than %v", least, limit)
	}
}

// timeToNetworks boots with this share, which has the stopwatch as agent, and
// returns how long from /init it is until both networks are there, and until the
// agent is.
func timeToNetworks(t *testing.T, share string) (networks, agent time.Duration) {
	t.Helper()
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
	log := filepath.Join(share, "kmsg")
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatalf("%v; the guest's console:\n%s", err, vm.ConsoleText())
	}
	if err := os.Remove(log); err != nil { // the next boot writes another
		t.Fatal(err)
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
	return max(at("netd: NIC configured nic=eth0"), at("netd: NIC configured nic=eth1")) - init, at("stopwatch: agent") - init
}
