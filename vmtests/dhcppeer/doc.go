// Package dhcppeer is the network at the other end of a guest's NIC (QEMU's `-netdev
// stream`). It has a DHCP server that behaves as a test says, well or badly, and hosts that
// ping the guest and talk TCP with it. The package must not know of arcinit or testing.T.
package dhcppeer
