//go:build vmtest

package vmtests

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/arcinit/arcinit/vmtests/guest"
	"github.com/arcinit/arcinit/vmtests/probe"
)

// TestJailer has a program do in the guest what Firecracker and its jailer do: make
// devices in a directory, go there for good, know the processor's caches, and
// where the kernel has KVM, run a virtual machine of its own.
func TestJailer(t *testing.T) {
	eachKernel(t, func(t *testing.T, k kernel) {
		t.Parallel()
		m := boot(t, image{kernel: k.image, initrd: k.initrd, nics: []guest.NIC{guest.PrimaryNIC(), guest.BridgeNIC()}})
		comesUp(t, m)
		const jailer = "/var/lib/arcbox/jailer"
		saw := must[probe.Jailed](t, m, "Jail", jailer+"/firecracker/one/root")
		if want := []string{"/dev", "/sys"}; !slices.Equal(saw.Root, want) {
			t.Errorf("in the jail there is %v, want %v", saw.Root, want)
		}
		if n := len(must[[]string](t, m, "Glob", "/sys/devices/system/cpu/cpu0/cache/index*")); len(saw.Caches) != 3*n || n == 0 {
			t.Errorf("of %d caches the attributes are %q", n, saw.Caches)
		}
		for _, attribute := range saw.Caches {
			if strings.HasSuffix(attribute, " ") || strings.HasSuffix(attribute, " 0") {
				t.Errorf("a cache has %q", attribute)
			}
		}
		if saw.TUN == 0 {
			t.Error("/dev/net/tun has no features")
		}
		// On amd64 QEMU emulates AMD's virtualization; the distribution's image has
		// no module for it.
		want := ""
		if k.name == "own" && k.arch == "amd64" {
			want = "hello from a micro-VM"
		}
		if saw.MicroVM != want {
			t.Errorf("the micro-VM wrote %q, want %q", saw.MicroVM, want)
		}
		t.Logf("%+v", saw)
		if k.arch == "arm64" {
			// QEMU's machine does not say how large the caches are: arcinit does.
			r := must[probe.Result](t, m, "RunWithout", probe.Without{
				Mount: "/sys/devices/system/cpu/cpu0/cache/index0",
				Argv:  []string{"/arcbox/bin/arcbox-agent", "jail", jailer + "/firecracker/two/root"},
			})
			if r.Code == 0 || !strings.Contains(r.Stderr, "cache/index0/size: no such file or directory") {
				t.Errorf("without what arcinit says of the caches, code %d: %s", r.Code, r.Stderr)
			}
		}
		// Elsewhere than in a jailer's directory devices cannot be opened.
		if _, err := ask[probe.Jailed](m, "Jail", "/var/lib/elsewhere"); err == nil || !strings.Contains(err.Error(), os.ErrPermission.Error()) {
			t.Errorf("in /var/lib/elsewhere: %v, want it refused", err)
		}
	})
}
