package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// KVM's interface (Documentation/virt/kvm/api.rst).
const (
	kvmGetAPIVersion       = 0xae00
	kvmCreateVM            = 0xae01
	kvmGetVCPUMmapSize     = 0xae04
	kvmCreateVCPU          = 0xae41
	kvmSetUserMemoryRegion = 0x4020ae46
	kvmRun                 = 0xae80
	kvmSetRegs             = 0x4090ae82
	kvmGetSregs            = 0x8138ae83
	kvmSetSregs            = 0x4138ae84

	kvmExitIO  = 2
	kvmExitHLT = 5
)

// kvmMemory is struct kvm_userspace_memory_region.
type kvmMemory struct {
	slot, flags             uint32
	guestAddr, size, memory uint64
}

// microVM runs a virtual machine in real mode that writes to its serial port and halts.
// It returns the serial output.
func microVM(kvm *os.File) (wrote string, err error) {
	const start = 0x1000
	program := []byte{
		0xbe, 0x13, 0x10, // mov si, text
		0xba, 0xf8, 0x03, // mov dx, 0x3f8
		0xac,       // next: lodsb
		0x84, 0xc0, // test al, al
		0x74, 0x03, // jz end
		0xee,       // out dx, al
		0xeb, 0xf8, // jmp next
		0xf4,                   // end: hlt
		0x90, 0x90, 0x90, 0x90, // text is at 0x1013
	}
	program = append(program, "hello from a micro-VM\x00"...)

	request := func(fd int, name string, number, argument uintptr) (int, error) {
		r, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), number, argument)
		if errno != 0 {
			return 0, fmt.Errorf("%s: %w", name, errno)
		}
		return int(r), nil
	}
	if version, err := request(int(kvm.Fd()), "KVM_GET_API_VERSION", kvmGetAPIVersion, 0); err != nil || version != 12 {
		return "", fmt.Errorf("KVM's interface has version %d, want 12: %w", version, err)
	}
	vm, err := request(int(kvm.Fd()), "KVM_CREATE_VM", kvmCreateVM, 0)
	if err != nil {
		return "", err
	}
	memory, err := unix.Mmap(-1, 0, 1<<16, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANONYMOUS)
	if err != nil {
		return "", fmt.Errorf("memory for a VM: %w", err)
	}
	copy(memory[start:], program)
	region := kvmMemory{size: uint64(len(memory)), memory: uint64(uintptr(unsafe.Pointer(&memory[0])))}
	if _, err := request(vm, "KVM_SET_USER_MEMORY_REGION", kvmSetUserMemoryRegion, uintptr(unsafe.Pointer(&region))); err != nil {
		return "", err
	}
	vcpu, err := request(vm, "KVM_CREATE_VCPU", kvmCreateVCPU, 0)
	if err != nil {
		return "", err
	}
	size, err := request(int(kvm.Fd()), "KVM_GET_VCPU_MMAP_SIZE", kvmGetVCPUMmapSize, 0)
	if err != nil {
		return "", err
	}
	state, err := unix.Mmap(vcpu, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return "", fmt.Errorf("memory of a virtual processor: %w", err)
	}

	// struct kvm_sregs begins with the segments cs, ds and es, 24 bytes each: a base
	// of 8 bytes, a limit of 4 and the selector of 2.
	var sregs [312]byte
	if _, err := request(vcpu, "KVM_GET_SREGS", kvmGetSregs, uintptr(unsafe.Pointer(&sregs))); err != nil {
		return "", err
	}
	clear(sregs[0:8])
	clear(sregs[12:14])
	if _, err := request(vcpu, "KVM_SET_SREGS", kvmSetSregs, uintptr(unsafe.Pointer(&sregs))); err != nil {
		return "", err
	}
	// struct kvm_regs ends with rip and rflags, of which bit 1 is always set.
	regs := [18]uint64{16: start, 17: 2}
	if _, err := request(vcpu, "KVM_SET_REGS", kvmSetRegs, uintptr(unsafe.Pointer(&regs))); err != nil {
		return "", err
	}
	for {
		if _, err := request(vcpu, "KVM_RUN", kvmRun, 0); err != nil {
			return wrote, err
		}
		// struct kvm_run has the reason of the exit at offset 8. For output it has the
		// port at offset 34 and the offset of the data at 40.
		switch reason := binary.LittleEndian.Uint32(state[8:]); reason {
		case kvmExitIO:
			if port := binary.LittleEndian.Uint16(state[34:]); port != 0x3f8 {
				return wrote, fmt.Errorf("output to port %#x", port)
			}
			wrote += string(state[binary.LittleEndian.Uint64(state[40:])])
		case kvmExitHLT:
			return wrote, nil
		default:
			return wrote, fmt.Errorf("the VM exited for reason %d after it wrote %q", reason, wrote)
		}
	}
}
