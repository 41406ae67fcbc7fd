package dhcppeer

import (
	"encoding/binary"
	"net/netip"
)

// Numbers of IPv6 and of its router advertisements (RFC 8200 section 3, RFC 4861 sections 4.2 and 4.6.2).
const (
	etherTypeIPv6 = 0x86dd
	icmpV6        = 58
	advertisement = 134
	prefixOption  = 3
	onLinkAuto    = 0xc0 // the flags L and A: hosts make an address of the prefix
	hopLimit      = 255  // hosts ignore an advertisement with any other
)

// Router is the link-local address of the router that Advertise speaks for.
var Router = netip.MustParseAddr("fe80::1")

// Advertise sends one router advertisement: the router has the default route for half an hour, and hosts may make an address of the prefix, a /64.
func (p *Peer) Advertise(prefix netip.Prefix) {
	icmp := []byte{advertisement, 0, 0, 0, hopLimit / 4, 0}
	icmp = binary.BigEndian.AppendUint16(icmp, 1800) // seconds
	icmp = append(icmp, make([]byte, 8)...)          // reachable time and retransmission are the host's
	icmp = append(icmp, prefixOption, 4, byte(prefix.Bits()), onLinkAuto)
	icmp = binary.BigEndian.AppendUint32(icmp, 3600) // seconds valid
	icmp = binary.BigEndian.AppendUint32(icmp, 1800) // seconds preferred
	icmp = append(icmp, make([]byte, 4)...)
	icmp = append(icmp, prefix.Masked().Addr().AsSlice()...)

	all := netip.MustParseAddr("ff02::1")
	addresses := append(Router.AsSlice(), all.AsSlice()...)
	pseudo := binary.BigEndian.AppendUint32(append([]byte{}, addresses...), uint32(len(icmp)))
	pseudo = binary.BigEndian.AppendUint32(pseudo, icmpV6)
	binary.BigEndian.PutUint16(icmp[2:], checksum(append(pseudo, icmp...)))

	ip := []byte{6 << 4, 0, 0, 0}
	ip = binary.BigEndian.AppendUint16(ip, uint16(len(icmp)))
	ip = append(append(ip, icmpV6, hopLimit), addresses...)
	p.link.send(ethernetFrame(mac{0x33, 0x33, 0, 0, 0, 1}, own, etherTypeIPv6, append(ip, icmp...)))
}

// Narrow makes the network drop what hosts send to the guest in larger IP packets, in bytes, without a word, as a tunnel does whose ICMP messages are
// filtered. 0 ends that. The DHCP server's messages are never dropped.
func (p *Peer) Narrow(mtu int) { p.narrow.Store(int64(mtu)) }

// forward sends a frame of a host to the guest.
func (p *Peer) forward(frame []byte) {
	if most := int(p.narrow.Load()); most == 0 || len(frame) <= ethernetHeader+most {
		p.link.send(frame)
	}
}
