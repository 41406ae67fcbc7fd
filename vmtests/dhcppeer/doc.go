// Package dhcppeer is what a guest's NIC is wired to in the tests: a DHCP server
// that does as it is told, at the other end of QEMU's `-netdev stream`. It sees
// every frame that the guest sends, answers ARP for its own address, and counts
// what it is asked.
//
// link.go carries frames, frame.go knows Ethernet, ARP, IPv4 and UDP, server.go
// what a server answers, and peer.go puts them together. It knows nothing of
// arcinit, and needs no testing.T.
package dhcppeer
