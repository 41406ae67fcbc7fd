//go:build vmtest

package vmtests

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"github.com/arcinit/arcinit/pkg/arcsetup/netd"
	"github.com/arcinit/arcinit/vmtests/probe"
)

// TestFailover has a NIC that asks for failover, for which the kernel makes a link of its own, and another NIC of the same address
// that joins them when its driver comes (Documentation/networking/net_failover.rst). Only the kernel's link is the guest's.
func TestFailover(t *testing.T) {
	t.Parallel()
	const mac = "52:54:00:00:00:0f"
	driver := filepath.Join(t.TempDir(), "driver")
	command(t, "", "sh", "-ec", fmt.Sprintf("set -- %s/stock/lib/modules/*/kernel/drivers/net/vmxnet3/*.ko*; case $1 in *.xz) xz -dc $1;; *.zst) zstd -dc $1;; *) cat $1;; esac >%s",
		built(t, "."), driver))
	m := boot(t, image{
		programs: map[string]string{"arcbox/driver": driver, "arcbox/busybox": built(t, "swapin/usr/bin/busybox")}, cmdline: []string{quiet},
		qemu: []string{
			"-netdev", "user,id=standby,net=10.0.2.0/24,host=10.0.2.1", "-device", "virtio-net-pci,romfile=,netdev=standby,failover=on,mac=" + mac,
			"-netdev", "user,id=fast,net=10.0.2.0/24,host=10.0.2.1", "-device", "vmxnet3,romfile=,netdev=fast,mac=" + mac,
		},
	})
	comesUp(t, m)
	for _, links := range []int{1, 2} {
		if links == 2 {
			if r := m.run(t, "/arcbox/busybox", "insmod", "/arcbox/driver"); r.Code != 0 {
				t.Fatalf("load the driver: %s", r.Stderr)
			}
		}
		eventually(t, func() string {
			if joined := must[[]string](t, m, "Glob", "/sys/class/net/*/master"); len(joined) != links {
				return fmt.Sprintf("the kernel has joined %s, want %d", joined, links)
			}
			return ""
		})
		eventually(t, func() string {
			nics := network(t, m)
			for name, nic := range nics {
				if len(nics) == 1 && nic.Role == netd.RolePrimary && len(must[[]string](t, m, "Glob", "/sys/class/net/"+name+"/lower_*")) == links {
					return ""
				}
			}
			return fmt.Sprintf("net.json has %+v, want the link that joins %d", nics, links)
		})
	}
	for name := range network(t, m) {
		address(t, m, name, "10.0.2.15/24")
	}
}

// TestOneMACTwice has two NICs with the same address, on different networks.
func TestOneMACTwice(t *testing.T) {
	t.Parallel()
	nics := bothNICs()
	nics[0].MAC, nics[1].MAC = "52:54:00:00:00:07", "52:54:00:00:00:07"
	m := boot(t, image{nics: nics, cmdline: []string{quiet}})
	comesUp(t, m)
	address(t, m, "eth0", "10.0.2.15/24")
	address(t, m, "eth1", "192.168.64.15/24")
}

// TestConsoleParameters has consoles that do not exist, and several. The agent starts all the same.
func TestConsoleParameters(t *testing.T) {
	for _, consoles := range [][]string{{"console=ttyS9"}, {"console=null"}, {"console=tty0", "console=ttyS0"}, {"console=hvc7", "console=nonesuch"}} {
		t.Run(consoles[len(consoles)-1], func(t *testing.T) {
			t.Parallel()
			m := boot(t, image{cmdline: slices.Concat([]string{quiet}, consoles)})
			must[probe.AtStart](t, m, "AtStart", none{})
			outcome(t, m, "share", "ok")
			testPowerOff(t, m)
		})
	}
}

// TestMMIODevices has a device on the command line, as Firecracker has, whose driver is a module. No alias of such a device asks
// for the module.
func TestMMIODevices(t *testing.T) {
	t.Parallel()
	m := boot(t, image{cmdline: []string{quiet, "virtio_mmio.device=4K@0xd0000000:5"}})
	comesUp(t, m)
	m.stat(t, "/sys/module/virtio_mmio")
}
