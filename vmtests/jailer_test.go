//go:build vmtest

package vmtests

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/arcinit/arcinit/vmtests/probe"
)

// testFirecracker does in the guest what Firecracker and its jailer do: it creates
// devices in a directory, changes its root to that for good, reads the processor's
// caches and, where the kernel has KVM, runs a micro-VM.
func testFirecracker(t *testing.T, m *machine, k kernel) {
	const jailer = "/var/lib/arcbox/jailer"
	saw := must[probe.Jailed](t, m, "Jail", jailer+"/firecracker/one/root")
	if want := []string{"/dev", "/sys"}; !slices.Equal(saw.Root, want) {
		t.Errorf("the jail holds %v, want %v", saw.Root, want)
	}
	if n := len(must[[]string](t, m, "Glob", "/sys/devices/system/cpu/cpu0/cache/index*")); len(saw.Caches) != 3*n || n == 0 {
		t.Errorf("%d caches have the attributes %q", n, saw.Caches)
	}
	for _, attribute := range saw.Caches {
		if strings.HasSuffix(attribute, " ") || strings.HasSuffix(attribute, " 0") {
			t.Errorf("a cache has %q", attribute)
		}
	}
	if saw.TUN == 0 {
		t.Error("/dev/net/tun has no features")
	}
	// On amd64 QEMU emulates AMD's virtualization. The distribution's image has no
	// module for that.
	want := ""
	if k.own() && k.arch == "amd64" {
		want = "hello from a micro-VM"
	}
	if saw.MicroVM != want {
		t.Errorf("the micro-VM wrote %q, want %q", saw.MicroVM, want)
	}
	if k.arch == "arm64" {
		// QEMU's machine does not describe its caches; arcinit does.
		r := must[probe.Result](t, m, "RunWithout", probe.Without{
			Mount: "/sys/devices/system/cpu/cpu0/cache/index0",
			Argv:  []string{"/arcbox/bin/arcbox-agent", "jail", jailer + "/firecracker/two/root"},
		})
		if r.Code == 0 || !strings.Contains(r.Stderr, "cache/index0/size: no such file or directory") {
			t.Errorf("without arcinit's mount on the cache, the jailer ended with code %d: %s", r.Code, r.Stderr)
		}
	}
	// Devices can be opened in a jailer's directory alone.
	if _, err := ask[probe.Jailed](m, "Jail", "/var/lib/elsewhere"); err == nil || !strings.Contains(err.Error(), os.ErrPermission.Error()) {
		t.Errorf("a jail in /var/lib/elsewhere: %v, want it refused", err)
	}
}
