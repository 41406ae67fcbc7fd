//go:build vmtest

package vmtests

import (
	"fmt"
	"strings"
	"testing"

	"github.com/arcinit/arcinit/vmtests/guest"
)

// TestModulesOfTheCommandLine boots with parameters for a module that is loaded at boot and for one that the kernel asks for
// later, and with modules that are refused, each by another word. Their absence is no failure.
func TestModulesOfTheCommandLine(t *testing.T) {
	t.Parallel()
	host := &hostPort{}
	m := boot(t, image{
		nics: bothNICs(), tools: true, ports: []guest.Port{host.port("host")}, qemu: []string{"-device", "virtio-balloon-pci", "-device", "virtio-rng-pci"},
		cmdline: []string{quiet, "virtio-net.napi_tx=0", "dummy.numdummies=2", "module_blacklist=virtio_balloon", "modprobe.blacklist=virtio-rng,nonesuch",
			"rd.driver.blacklist=macvlan", "arcbox.notify=virtio-port:host"},
	})
	comesUp(t, m)
	if got := m.read(t, "/sys/module/virtio_net/parameters/napi_tx"); got != "N\n" {
		t.Errorf("virtio_net has napi_tx = %s", got)
	}
	m.ip(t, "link", "add", "last0", "type", "dummy") // the kernel asks for the module
	for _, link := range []string{"dummy0", "dummy1"} {
		m.stat(t, "/sys/class/net/"+link)
	}
	if r := m.run(t, append(ip, "link", "add", "last1", "link", "eth0", "type", "macvlan")...); r.Code == 0 {
		t.Error("macvlan is there, although it is refused")
	}
	for _, module := range []string{"virtio_balloon", "virtio_rng", "macvlan"} {
		if there := must[[]string](t, m, "Glob", "/sys/module/"+module); len(there) > 0 {
			t.Errorf("%s is loaded, although it is refused", module)
		}
	}
	outcome(t, m, "modules", "ok")
	eventually(t, func() string { return lifeOf(host.heard(), false) })
}

// TestCompressedModules boots a root whose modules are packed as the kernel cannot unpack them. Those of the initramfs are used.
func TestCompressedModules(t *testing.T) {
	t.Parallel()
	tree := swapinTree(t, nil)
	command(t, "", "cp", "-a", built(t, "modules")+"/lib/modules", tree+"/lib/")
	// The stock kernel unpacks xz.
	command(t, "", "sh", "-ec", fmt.Sprintf("cd %s/lib/modules/*; find . -name '*.ko' | while read -r file; do gzip $file; done; sed -i 's/[.]ko/.ko.gz/g' modules.dep modules.builtin", tree))
	m := boot(t, image{disks: []guest.Disk{{File: erofsDisk(t, tree)}}, nics: bothNICs(), tools: true, cmdline: []string{quiet, "root=/dev/vda"}})
	comesUp(t, m)
	outcome(t, m, "netfilter", "ok")
	m.ip(t, "link", "add", "last0", "type", "dummy")
	if mp := root(t, m); mp.FSType != "erofs" || strings.Contains(m.ConsoleText(), "cannot") {
		t.Errorf("/ is %+v", mp)
	}
}
