package guest

import (
	"cmp"
	"fmt"
	"io"
	"strconv"
	"time"
)

// Config describes a guest. Kernel must be set; the zero value of everything else works.
type Config struct {
	// Arch is amd64 or arm64, by default the host's.
	Arch string
	// Kernel and Initrd are files on the host.
	Kernel, Initrd string
	// Cmdline is added to the kernel command line, after the options for the console and for panics.
	Cmdline []string
	// MemoryMiB is 512 and CPUs is 1 by default.
	MemoryMiB, CPUs int

	// Shares are the virtiofs shares.
	Shares []Share
	// NICs are virtio network cards, in the guest's order: the first is eth0.
	NICs []NIC
	// Disks are in the guest's order: the first is /dev/vda.
	Disks []Disk
	// Ports are virtio-serial ports on which the guest reports to the host.
	Ports []Port

	// Console, if not nil, receives the guest's console output. The VM keeps a copy in any case.
	Console io.Writer
	// VirtioConsole makes the console a virtio device, hvc0, and not a serial port, as on hypervisors that only have virtio
	// devices. Kernel messages from before the driver is loaded are lost.
	VirtioConsole bool
	// MMIO puts the virtio devices on MMIO, not on PCI. On amd64 the machine then has neither PCI nor ACPI nor an RTC, so the guest
	// cannot power off. It has room for eight devices.
	MMIO bool
	// Input, if not nil, is typed on the console.
	Input io.Reader

	// Accel is the accelerator; by default it is chosen by a probe boot.
	Accel Accel
	// Timeout is how long the guest may run, 2 minutes by default. Then it is killed and Wait returns ErrTimeout.
	Timeout time.Duration
	// ExtraQEMU are further QEMU arguments.
	ExtraQEMU []string
}

// Share is a host directory that the guest can mount as a virtiofs file system by its tag.
type Share struct {
	Tag, Dir string
}

// Disk is a raw disk image on a virtio disk.
type Disk struct {
	File string
	// Writable lets the guest write to the file.
	Writable bool
	// BlockSize is the size of a logical block in bytes, by default 512.
	BlockSize int
}

// NIC is a virtio network card.
type NIC struct {
	// Netdev is the QEMU network backend without its id, such as "user,net=10.0.2.0/24". With an empty one the link is up
	// but nobody answers.
	Netdev string
	// MAC is the address, by default 52:54:00:00:00:01 for the first card, :02 for the second and so on.
	MAC string
}

// PrimaryNIC is a card on a network with a DHCP server and a way out, the host being 10.0.2.1.
func PrimaryNIC() NIC {
	return NIC{Netdev: "user,net=10.0.2.0/24,host=10.0.2.1,dns=10.0.2.3"}
}

// BridgeNIC is a card on a second network with a DHCP server, the host being 192.168.64.1.
func BridgeNIC() NIC {
	return NIC{Netdev: "user,net=192.168.64.0/24,host=192.168.64.1,dns=192.168.64.3"}
}

// SilentNIC is a card on a network where nobody answers.
func SilentNIC() NIC {
	return NIC{}
}

// Port is a virtio-serial port. The guest opens it by name (see package port), writes lines, and reads the lines that
// VM.Send sends. When Wait returns, Line has been called with every line, even if the guest never closed the port.
type Port struct {
	Name string
	// Line, if not nil, is called with each line from the guest, in order and without the newline. The next line waits until
	// Line returns.
	Line func(line []byte)
}

// withDefaults returns the configuration with its defaults filled in, or an error if it is not valid.
func (c Config) withDefaults(hostArch string) (Config, error) {
	if c.Arch == "" {
		c.Arch = hostArch
	}
	if _, err := machineFor(c.Arch); err != nil {
		return c, err
	}
	if c.Kernel == "" {
		return c, fmt.Errorf("guest configuration has no kernel")
	}
	if c.MemoryMiB == 0 {
		c.MemoryMiB = 512
	}
	if c.CPUs == 0 {
		c.CPUs = 1
	}
	if c.Timeout == 0 {
		c.Timeout = 2 * time.Minute
	}
	return c, nil
}

// machine is the part of a configuration that differs between architectures.
type machine struct {
	qemu, machine, serial string
	// cpu is the processor that TCG emulates. without removes features that QEMU emulates wrongly when the host is busy;
	// the accelerator Counted keeps them, because real processors have them.
	cpu, without string
}

func machineFor(arch string) (machine, error) {
	switch arch {
	case "amd64":
		// Without graphics=on the firmware uses the serial console as its display and clears the screen.
		// CMPXCHG16B is off because kernels crash with it: QEMU 7.2 leaves garbage in the flags until the next
		// instruction sets them, and an interrupt in between saves and restores the garbage.
		// Without ERMS and FSRM the kernel clears memory by words. QEMU executes `rep stosb` byte by byte, which a real
		// processor does not.
		return machine{qemu: "qemu-system-x86_64", machine: "q35,graphics=on", serial: "ttyS0", cpu: "max,-erms,-fsrm", without: ",-cx16"}, nil
	case "arm64":
		// Not max: with that processor, iptables crashed or read garbage in 2 of 19 boots, and the reason is not known.
		return machine{qemu: "qemu-system-aarch64", machine: "virt", serial: "ttyAMA0", cpu: "cortex-a72"}, nil
	default:
		return machine{}, fmt.Errorf("guest architecture %q: want amd64 or arm64", arch)
	}
}

// machine returns QEMU's machine for this configuration.
func (c Config) machine(m machine) string {
	if c.MMIO && c.Arch == "amd64" {
		return "microvm,acpi=off,rtc=off" // the RTC's interrupt is a device's
	}
	return m.machine
}

// bus returns the last part of the name of a virtio device.
func (c Config) bus() string {
	if c.MMIO {
		return "device"
	}
	return "pci"
}

// console returns the guest's name for the console device.
func (c Config) console(m machine) string {
	if c.VirtioConsole {
		return "hvc0"
	}
	return m.serial
}

// sockets names the sockets that QEMU connects to. This process listens on them, so it never waits for QEMU to listen.
type sockets struct {
	dir string
}

func (s sockets) qmp() string        { return s.dir + "/qmp" }
func (s sockets) share(i int) string { return s.dir + "/share" + strconv.Itoa(i) }
func (s sockets) port(i int) string  { return s.dir + "/port" + strconv.Itoa(i) }

// qemuArgs returns the QEMU arguments for a configuration with defaults. vmtest adds the kernel, the initramfs and the
// kernel command line.
func (c Config) qemuArgs(m machine, accel Accel, s sockets) []string {
	memory := strconv.Itoa(c.MemoryMiB) + "M"
	args := []string{
		// The firmware spends time on each default device.
		"-nodefaults",
		"-machine", c.machine(m),
		"-m", memory,
		"-smp", strconv.Itoa(c.CPUs),
	}
	args = append(args, accel.args(m, c.CPUs)...)
	args = append(args,
		// signal=off passes control-C to the guest.
		"-chardev", "stdio,id=console,signal=off",
		"-chardev", "socket,id=qmp,path="+s.qmp(),
		"-mon", "chardev=qmp,mode=control",
		// Without it, programs in the guest wait for entropy.
		"-device", "virtio-rng-"+c.bus(),
	)
	if c.MMIO {
		// Without this, QEMU's devices on MMIO are those of before virtio 1.0.
		args = append(args, "-global", "virtio-mmio.force-legacy=false")
	}
	if c.VirtioConsole {
		args = append(args, "-serial", "none",
			"-device", "virtio-serial-"+c.bus()+",id=consoles",
			"-device", "virtconsole,bus=consoles.0,chardev=console")
	} else {
		args = append(args, "-serial", "chardev:console")
	}
	if len(c.Shares) > 0 {
		// The virtiofs daemons work on the guest's memory.
		args = append(args,
			"-object", "memory-backend-memfd,id=mem,share=on,size="+memory,
			"-numa", "node,memdev=mem")
	}
	for i, share := range c.Shares {
		id := "share" + strconv.Itoa(i)
		args = append(args,
			"-chardev", "socket,id="+id+",path="+s.share(i),
			"-device", "vhost-user-fs-"+c.bus()+",chardev="+id+",tag="+share.Tag)
	}

	for i, nic := range c.NICs {
		id := "nic" + strconv.Itoa(i)
		netdev, mac := nic.Netdev, nic.MAC
		if netdev == "" {
			netdev = "hubport,hubid=" + strconv.Itoa(i)
		}
		if mac == "" {
			mac = fmt.Sprintf("52:54:00:00:00:%02x", i+1)
		}
		device := "virtio-net-" + c.bus()
		if !c.MMIO {
			// Without a romfile the firmware does not try to boot from the network.
			device += ",romfile="
		}
		args = append(args,
			"-netdev", netdev+",id="+id,
			"-device", device+",netdev="+id+",mac="+mac)
	}

	for i, disk := range c.Disks {
		id := "disk" + strconv.Itoa(i)
		readOnly := "on"
		if disk.Writable {
			readOnly = "off"
		}
		args = append(args,
			"-drive", "if=none,format=raw,discard=unmap,read-only="+readOnly+",id="+id+",file="+disk.File,
			"-device", fmt.Sprintf("virtio-blk-%s,drive=%s,logical_block_size=%d,physical_block_size=%[3]d", c.bus(), id, cmp.Or(disk.BlockSize, 512)))
	}

	if len(c.Ports) > 0 {
		args = append(args, "-device", "virtio-serial-"+c.bus()+",id=ports")
	}
	for i, port := range c.Ports {
		id := "port" + strconv.Itoa(i)
		args = append(args,
			"-chardev", "socket,id="+id+",path="+s.port(i),
			"-device", "virtserialport,bus=ports.0,chardev="+id+",name="+port.Name)
	}
	return append(args, c.ExtraQEMU...)
}
