//go:build vmtest

package vmtests

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// TestHotplug plugs a NIC and a disk into a guest that booted without them.
func TestHotplug(t *testing.T) {
	t.Parallel()
	m := boot(t, image{cmdline: []string{quiet}, qemu: []string{
		"-device", "pcie-root-port,id=hot1,chassis=1,slot=1",
		"-device", "pcie-root-port,id=hot2,chassis=2,slot=2",
	}})
	m.waitReport(t)
	for _, module := range []string{"virtio_net", "virtio_blk"} {
		if found := must[[]string](t, m, "Glob", "/sys/module/"+module); len(found) != 0 {
			t.Errorf("%s is loaded without a device", module)
		}
	}
	t.Run("NIC", func(t *testing.T) {
		m.qmp(t, "netdev_add", map[string]any{"type": "user", "id": "late", "net": "10.0.2.0/24", "host": "10.0.2.1", "dns": "10.0.2.3"})
		m.qmp(t, "device_add", map[string]any{"driver": "virtio-net-pci", "bus": "hot1", "netdev": "late", "mac": "52:54:00:00:00:77"})
		// The network daemon configures the NIC.
		address(t, m, "eth0", "10.0.2.15/24")
	})
	t.Run("disk", func(t *testing.T) {
		disk := filepath.Join(t.TempDir(), "disk")
		if err := os.WriteFile(disk, append([]byte("late disk\n"), make([]byte, 1<<20)...), 0o644); err != nil {
			t.Fatal(err)
		}
		plugIn(t, m, disk, "hot2")
		eventually(t, func() string {
			if found := must[[]string](t, m, "Glob", "/sys/block/vda/size"); len(found) == 0 {
				return fmt.Sprintf("there is no vda: %v", must[[]string](t, m, "Glob", "/sys/bus/virtio/devices/*"))
			}
			return ""
		})
	})
}
