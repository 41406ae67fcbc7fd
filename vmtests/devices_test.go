//go:build vmtest

package vmtests

import (
	"fmt"
	"slices"
	"testing"

	"github.com/arcinit/arcinit/pkg/arcsetup/netd"
	"github.com/arcinit/arcinit/vmtests/probe"
)

// TestFailover has two NICs of one address, which the kernel joins to a third (Documentation/networking/net_failover.rst).
// Only that one is the guest's.
func TestFailover(t *testing.T) {
	t.Parallel()
	const mac = "52:54:00:00:00:0f"
	m := boot(t, image{cmdline: []string{quiet}, qemu: []string{
		"-netdev", "user,id=standby,net=10.0.2.0/24,host=10.0.2.1", "-device", "virtio-net-pci,romfile=,netdev=standby,mac=" + mac + ",failover=on,id=pair",
		"-device", "pcie-root-port,id=socket,chassis=1,slot=1",
		"-netdev", "user,id=fast,net=10.0.2.0/24,host=10.0.2.1", "-device", "virtio-net-pci,romfile=,netdev=fast,mac=" + mac + ",bus=socket,failover_pair_id=pair,id=fast",
	}})
	comesUp(t, m)
	eventually(t, func() string {
		if links := must[[]string](t, m, "Glob", "/sys/class/net/*/master/device"); len(links) != 2 {
			return "the kernel has not joined two NICs"
		}
		return ""
	})
	var name string
	eventually(t, func() string {
		nics := network(t, m)
		for name = range nics {
			if len(nics) == 1 && nics[name].Role == netd.RolePrimary && len(must[[]string](t, m, "Glob", "/sys/class/net/"+name+"/master")) == 0 {
				return ""
			}
		}
		return fmt.Sprintf("net.json has %+v, want the one that joins two", nics)
	})
	address(t, m, name, "10.0.2.15/24")
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
