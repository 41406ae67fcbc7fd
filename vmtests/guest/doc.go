// Package guest boots a Linux guest under QEMU with a container VM's devices: virtiofs shares, network interfaces, a
// console and virtio-serial ports. The tests, `make run` and the benchmark all start their guests here.
//
// It is a layer over vmtest's qemu package, which starts QEMU and relays its serial console; [Start] accepts vmtest's
// options. This package adds the virtiofs daemons, the machine and its devices, the choice of accelerator, and the reason
// why a guest ended. It needs no testing.T, and does not depend on the programs in the guest.
//
// It only works on Linux.
package guest
