// Package dhcppeer is what a guest's NIC is wired to in the tests: the network at
// the other end of QEMU's `-netdev stream`, with a DHCP server on it that does as
// it is told, well or badly, and hosts that ping the guest and talk TCP with it.
//
// link.go carries frames and frame.go knows Ethernet, IPv4 and UDP, as far as DHCP
// needs them. server.go is what a good server answers, fault.go what becomes of
// that when it is told to be none, and message.go what both sides have sent.
// stack.go is the IP stack of all hosts, ARP included, and host.go one of them.
// peer.go puts them together. The package knows nothing of arcinit, and needs no
// testing.T.
package dhcppeer
