package dhcppeer

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
)

// Header lengths in bytes; IPv4's is without options (IEEE 802.3, RFC 791, RFC 768).
const (
	ethernetHeader = 14
	ipv4Header     = 20
	udpHeader      = 8
	udpChecksum    = 6 // its offset
)

// Numbers of IEEE 802 and IANA's registers.
const (
	etherTypeIPv4 = 0x0800
	protocolUDP   = 17
)

type mac [6]byte

var (
	broadcastMAC     = mac{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	broadcastAddress = netip.AddrFrom4([4]byte{255, 255, 255, 255})
)

func macOf(a net.HardwareAddr) (m mac) {
	copy(m[:], a)
	return m
}

// parseEthernet takes a frame apart. ok is false for a frame that is too short.
func parseEthernet(frame []byte) (to mac, etherType uint16, payload []byte, ok bool) {
	if len(frame) < ethernetHeader {
		return mac{}, 0, nil, false
	}
	return mac(frame[:6]), binary.BigEndian.Uint16(frame[12:]), frame[ethernetHeader:], true
}

func ethernetFrame(to, from mac, etherType uint16, payload []byte) []byte {
	frame := append(to[:], from[:]...)
	frame = binary.BigEndian.AppendUint16(frame, etherType)
	return append(frame, payload...)
}

// datagram is a UDP datagram in an unfragmented IPv4 packet.
type datagram struct {
	from, to   netip.AddrPort
	payload    []byte
	unfinished bool // the checksum of UDP covers the pseudo header alone
}

func parseDatagram(b []byte) (d datagram, ok bool) {
	if len(b) < ipv4Header || b[0]>>4 != 4 || b[9] != protocolUDP {
		return datagram{}, false
	}
	header, total := int(b[0]&15)*4, int(binary.BigEndian.Uint16(b[2:]))
	fragment := binary.BigEndian.Uint16(b[6:]) & 0x3fff // more to come, or not the first
	if header < ipv4Header || total < header+udpHeader || total > len(b) || fragment != 0 {
		return datagram{}, false
	}
	udp := b[header:total]
	length := int(binary.BigEndian.Uint16(udp[4:]))
	if length < udpHeader || length > len(udp) {
		return datagram{}, false
	}
	return datagram{
		from:    netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[12:16])), binary.BigEndian.Uint16(udp)),
		to:      netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[16:20])), binary.BigEndian.Uint16(udp[2:])),
		payload: udp[udpHeader:length],
	}, true
}

// packet returns the datagram as an IPv4 packet, with both checksums.
func (d datagram) packet() []byte {
	length := udpHeader + len(d.payload)
	ip := make([]byte, ipv4Header, ipv4Header+length)
	ip[0] = 4<<4 | ipv4Header/4
	ip[8], ip[9] = 64, protocolUDP // time to live
	copy(ip[12:], d.from.Addr().AsSlice())
	copy(ip[16:], d.to.Addr().AsSlice())

	udp := binary.BigEndian.AppendUint16(nil, d.from.Port())
	udp = binary.BigEndian.AppendUint16(udp, d.to.Port())
	udp = binary.BigEndian.AppendUint16(udp, uint16(length))
	udp = append(append(udp, 0, 0), d.payload...)
	pseudo := binary.BigEndian.AppendUint16(append(bytes.Clone(ip[12:20]), 0, protocolUDP), uint16(length))
	sum := ^checksum(pseudo)
	if !d.unfinished {
		sum = checksum(append(pseudo, udp...))
	}
	if sum == 0 {
		sum = 0xffff // zero would mean that there is none (RFC 768)
	}
	binary.BigEndian.PutUint16(udp[udpChecksum:], sum)
	return sealed(append(ip, udp...))
}

// sealed fills in an IPv4 packet's length and the checksum of its header.
func sealed(packet []byte) []byte {
	binary.BigEndian.PutUint16(packet[2:], uint16(len(packet)))
	binary.BigEndian.PutUint16(packet[10:], 0)
	binary.BigEndian.PutUint16(packet[10:], checksum(packet[:packet[0]&15*4]))
	return packet
}

// checksum returns the Internet checksum (RFC 1071).
func checksum(b []byte) uint16 {
	var sum uint32
	for ; len(b) > 1; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) > 0 {
		sum += uint32(b[0]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
