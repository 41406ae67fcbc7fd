//go:build vmtest

package vmtests

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/arcinit/arcinit/pkg/arcsetup"
	"github.com/arcinit/arcinit/pkg/arcsetup/netd"
	"github.com/arcinit/arcinit/vmtests/guest"
	"github.com/arcinit/arcinit/vmtests/probe"
)

const examples = "../examples/"

// readExample reads a file of the examples.
func readExample(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(examples + name)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// readConfig decodes a VMM's configuration file. A key that is missing fails the test by what it leaves empty.
func readConfig[Config any](t *testing.T, name string) (c Config) {
	t.Helper()
	if err := json.Unmarshal(readExample(t, name), &c); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return c
}

// vmm is a guest of the own kernel with an example's kernel command line, its arcinit.toml on the share, and the data disk that its
// README makes.
func vmm(t *testing.T, example, cmdline string, tags []string) image {
	t.Helper()
	return image{
		kernel: "kernel", initrd: "initramfs.cpio", cmdline: strings.Fields(cmdline), nics: bothNICs(), cpus: 2,
		tags:    slices.DeleteFunc(tags, func(tag string) bool { return tag == "arcbox" }), // boot adds this share
		shared:  map[string]string{"etc/arcinit.toml": string(readExample(t, example+"/arcinit.toml"))},
		noShare: tags == nil,
		disks:   []guest.Disk{{File: grown(t, ext4Disk(t, t.TempDir(), "data"), 128), Writable: true}},
	}
}

// bootsVMM boots an example's guest, in which no step may fail, and checks its shares, its disk and its source of entropy.
func bootsVMM(t *testing.T, im image) *machine {
	t.Helper()
	m := boot(t, im)
	comesUp(t, m)
	if !im.noShare {
		outcome(t, m, "share", "ok")
	}
	for _, tag := range im.tags {
		outcome(t, m, tag, "ok")
	}
	outcome(t, m, "disks", "ok")
	if mp := mount(must[[]probe.Mount](t, m, "Mounts", none{}), "/mnt/data"); mp == nil || mp.FSType != "ext4" {
		t.Errorf("mounted on /mnt/data is %+v", mp)
	}
	if rng := m.read(t, "/sys/class/misc/hw_random/rng_current"); !strings.HasPrefix(rng, "virtio_rng") {
		t.Errorf("the source of entropy is %q", rng)
	}
	return m
}

// bothNetworks checks the addresses of NICs that are each on a network of its own.
func bothNetworks(t *testing.T, m *machine) {
	t.Helper()
	address(t, m, "eth0", "10.0.2.15/24")
	address(t, m, "eth1", "192.168.64.15/24")
	defaultRoute(t, m, "10.0.2.1")
}

// TestVMM boots the guests of examples on this project's own kernel, with QEMU's nearest devices. This host may lack vsock.
func TestVMM(t *testing.T) {
	t.Parallel()
	if !slices.Contains(strings.Fields(os.Getenv("KERNELS")), "own") {
		t.Skip("KERNELS does not name own")
	}
	t.Run("vfkit", testVfkit)
	t.Run("cloud-hypervisor", testCloudHypervisor)
	if arch() == "amd64" { // QEMU has no such machine of arm64
		t.Run("firecracker", testFirecrackersGuest)
	}
}

// testVfkit takes the kernel command line and the shares from the arguments that run.sh gives vfkit.
func testVfkit(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write("vfkit", "#!/bin/sh\nprintf '%s\\n' \"$@\"\n")
	run, err := filepath.Abs(examples + "vfkit/run.sh")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(run)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"))
	args, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v", run, err)
	}
	cmdline := regexp.MustCompile(`(?m)^linux,.*,cmdline="(.*)"$`).FindSubmatch(args)
	if cmdline == nil {
		t.Fatalf("no kernel command line in %s", args)
	}
	var tags []string
	for _, tag := range regexp.MustCompile(`(?m)^virtio-fs,.*mountTag=(.*)$`).FindAllSubmatch(args, -1) {
		tags = append(tags, string(tag[1]))
	}
	im := vmm(t, "vfkit", string(cmdline[1]), tags)
	im.virtioConsole = true
	// Both NICs are on Apple's one network.
	im.qemu = []string{"-netdev", "user,id=nat,net=192.168.64.0/24,host=192.168.64.1", "-netdev", "hubport,id=uplink,hubid=64,netdev=nat"}
	im.nics = []guest.NIC{{Netdev: "hubport,hubid=64"}, {Netdev: "hubport,hubid=64"}}
	m := bootsVMM(t, im)
	eventually(t, func() string {
		nics := network(t, m)
		primary, bridge := nics["eth0"], nics["eth1"]
		if primary.Role != netd.RolePrimary || bridge.Role != netd.RoleBridge || len(primary.Addresses) != 1 || len(bridge.Addresses) != 1 ||
			primary.Addresses[0].Masked() != bridge.Addresses[0].Masked() || primary.Addresses[0] == bridge.Addresses[0] {
			return fmt.Sprintf("the NICs are %+v", nics)
		}
		return ""
	})
	defaultRoute(t, m, "192.168.64.1")
	testPowerOff(t, m)
}

// testCloudHypervisor boots the guest of vm.json, by PVH on amd64.
func testCloudHypervisor(t *testing.T) {
	c := readConfig[struct {
		Payload struct{ Kernel, Initramfs, Cmdline string }
		FS      []struct{ Tag string }
	}](t, "cloud-hypervisor/vm.json")
	var tags []string
	for _, fs := range c.FS {
		tags = append(tags, fs.Tag)
	}
	im := vmm(t, "cloud-hypervisor", c.Payload.Cmdline, tags)
	if arch() == "amd64" {
		im.kernel = c.Payload.Kernel
	}
	im.initrd, im.virtioConsole = c.Payload.Initramfs, true
	m := bootsVMM(t, im)
	bothNetworks(t, m)
	if where := m.read(t, "/home/where"); where != "users" {
		t.Errorf("/home is the share %q", where)
	}
	// ch-remote power-button presses ACPI's button, or the key of a GPIO.
	waitButton(t, m, must[probe.AtStart](t, m, "AtStart", none{}).PPID)
	pressButton(t, m)
}

// testFirecrackersGuest has its devices on MMIO, no share, and the root disk that root.sh makes. There is a keyboard controller but no
// ACPI, so the guest ends by a reset.
func testFirecrackersGuest(t *testing.T) {
	c := readConfig[struct {
		Boot struct {
			Kernel string `json:"kernel_image_path"`
			Initrd string `json:"initrd_path"`
			Args   string `json:"boot_args"`
		} `json:"boot-source"`
		Drives []struct {
			Root     bool `json:"is_root_device"`
			ReadOnly bool `json:"is_read_only"`
		}
	}](t, "firecracker/vm.json")
	for name, end := range map[string]func(t *testing.T, m *machine){
		"poweroff": func(_ *testing.T, m *machine) {
			m.tell("Run", probe.Command{Argv: []string{arcsetup.ProgramPath, "poweroff"}})
		},
		"ctrlaltdel": func(t *testing.T, m *machine) { m.ctrlAltDel(t) },
	} {
		t.Run(name, func(t *testing.T) {
			im := vmm(t, "firecracker", c.Boot.Args, nil)
			im.kernel, im.initrd, im.mmio, im.qemu = c.Boot.Kernel, c.Boot.Initrd, true, []string{"-device", "i8042"}
			root := filepath.Join(t.TempDir(), "root.erofs")
			command(t, "", examples+"firecracker/root.sh", built(t, "arcbox-agent"), root)
			// Firecracker adds root= for the drive that is the root.
			if len(c.Drives) != 2 || !c.Drives[0].Root || !c.Drives[0].ReadOnly || c.Drives[1].ReadOnly {
				t.Fatalf("the drives are %+v", c.Drives)
			}
			im.disks = append([]guest.Disk{{File: root}}, im.disks...)
			im.cmdline = append(im.cmdline, "root=/dev/vda", "ro")
			m := bootsVMM(t, im)
			bothNetworks(t, m)
			if mp := mount(must[[]probe.Mount](t, m, "Mounts", none{}), "/"); mp == nil || mp.FSType != "erofs" || mp.Source != "/dev/vda" {
				t.Errorf("/ is %+v", mp)
			}
			if there := must[[]string](t, m, "Glob", "/sys/bus/pci/devices/*"); len(there) != 0 {
				t.Errorf("the guest has PCI: %q", there)
			}
			end(t, m)
			m.waitEnd(t, "guest-reset")
		})
	}
}
