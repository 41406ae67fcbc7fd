package probe

// Jailed is what a VMM found in its jail.
type Jailed struct {
	Root []string
	// Caches are the attributes of the processor's caches: a path and a value.
	Caches []string
	// TUN are the features of /dev/net/tun.
	TUN uint32
	// MicroVM is the serial output of the VMM's virtual machine. It is empty if the
	// kernel has no KVM.
	MicroVM string
}
