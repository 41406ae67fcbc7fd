// Package guest boots a Linux guest under QEMU with what a container VM has: virtiofs shares, network interfaces, a
// console and virtio-serial ports. The tests, `make run` and the benchmark all start their guests here.
//
// It is a layer over vmtest's qemu package, which starts QEMU and relays its serial console; any of vmtest's options can
// be handed to [Start]. Added here are the virtiofs daemons, the machine and its devices, the choice of accelerator, and
// an answer to how a guest ended. The package needs no testing.T, and knows nothing of what runs inside the guest.
//
// It only works on Linux.
package guest
