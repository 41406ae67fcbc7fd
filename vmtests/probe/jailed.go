package probe

// Jailed is what a VMM saw in its jail.
type Jailed struct {
	Root []string
	// Caches are the attributes of the processor's caches: a path and a value.
	Caches []string
	// TUN are the features of /dev/net/tun.
	TUN uint32
	// MicroVM is what a virtual machine of its own wrote to its serial port, empty
	// where the kernel has no KVM.
	MicroVM string
}
