package netd

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"github.com/u-root/u-root/pkg/dhclient"
	"golang.org/x/net/bpf"
)

var fuzzMAC = net.HardwareAddr{0x52, 0x54, 0, 0, 0, 1}

// inIPv4 is a UDP datagram to the DHCP client's port (RFC 791 section 3.1, RFC 768).
func inIPv4(payload []byte) []byte {
	b := make([]byte, 28, 28+len(payload))
	b[0] = 0x45
	binary.BigEndian.PutUint16(b[2:], uint16(28+len(payload)))
	b[8], b[9] = 64, 17
	binary.BigEndian.PutUint16(b[20:], dhcpv4.ServerPort)
	binary.BigEndian.PutUint16(b[22:], dhcpv4.ClientPort)
	binary.BigEndian.PutUint16(b[24:], uint16(8+len(payload)))
	return append(b, payload...)
}

// onePacket is a raw socket that receives one packet.
type onePacket struct {
	net.PacketConn
	packet []byte
}

func (c *onePacket) ReadFrom(b []byte) (int, net.Addr, error) {
	if c.packet == nil {
		return 0, nil, os.ErrClosed
	}
	n := copy(b, c.packet)
	c.packet = nil
	return n, nil, nil
}

// addACKs adds ACKs to a corpus, valid and invalid.
func addACKs(f *testing.F) {
	f.Helper()
	for _, options := range [][]dhcpv4.Option{
		nil,
		{raw(dhcpv4.OptionSubnetMask), raw(dhcpv4.OptionInterfaceMTU, 1)},
		{raw(dhcpv4.OptionClasslessStaticRoute, 0, 10, 0, 2, 2, 32, 192, 0, 2, 1, 0, 0, 0, 0)},
		{raw(dhcpv4.OptionClasslessStaticRoute, 33, 255)},
		{raw(dhcpv4.OptionClasslessStaticRoute, make([]byte, 1000)...)},
		{raw(dhcpv4.OptionIPAddressLeaseTime, 255, 255, 255, 255), raw(dhcpv4.OptionRenewTimeValue, 0, 0, 0, 1)},
		{raw(dhcpv4.OptionRouter, 10, 0, 2), raw(dhcpv4.OptionDomainNameServer, make([]byte, 400)...)},
		{raw(dhcpv4.OptionDNSDomainSearchList, 1, 'a', 0xc0, 0), raw(dhcpv4.OptionHostName, 0x1b, '[', '2', 'J', 0)},
		{raw(dhcpv4.OptionDNSDomainSearchList, 1, 'a', 1, 'b', 0, 0xc0, 2, 2, 0x1b, '[', 0)},
		{raw(dhcpv4.OptionRelayAgentInformation, 1, 2, 3), raw(dhcpv4.OptionVendorSpecificInformation, 1, 200), raw(dhcpv4.OptionVendorIdentifyingVendorClass, 0, 0, 0, 1, 9)},
		{raw(dhcpv4.OptionUserClassInformation, 3, 'a'), raw(dhcpv4.OptionClientSystemArchitectureType, 0), raw(dhcpv4.OptionAutoConfigure, 2)},
		{raw(dhcpv4.OptionServerIdentifier), raw(dhcpv4.OptionMessage, []byte("no\x1b[31m\n")...)},
	} {
		f.Add(newACK(f, "10.0.2.15", options...).ToBytes())
	}
	f.Add(folded(newACK(f, "10.0.2.15"), 3, []byte{3, 4, 10, 0, 2, 9, 255}, []byte{51, 200}))
}

// received returns the message in a packet, or nil if the client would ignore the packet.
func received(packet []byte) *dhcpv4.DHCPv4 {
	const most = 1500 // bytes: nclient4.MaxMessageSize, which only Linux has
	m, err := dhcpv4.FromBytes(unfold(packet[:min(len(packet), most)]))
	if err != nil {
		return nil
	}
	return m
}

// checkText complains about a text that is not fit for a log.
func checkText(t *testing.T, text string) {
	t.Helper()
	if len(text) > maxText || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		t.Errorf("not fit for a log: %q", text)
	}
}

// maxText bounds one text in a log, in bytes.
const maxText = 1024

func checkLease(t *testing.T, l lease) {
	t.Helper()
	if a := l.address; !a.IsValid() || !isUnicast(a.Addr()) || a.Bits() < minPrefix {
		t.Errorf("address %s", a)
	}
	if l.server.IsValid() && !isUnicast(l.server) {
		t.Errorf("server %s", l.server)
	}
	if l.mtu != 0 && l.mtu < minMTU {
		t.Errorf("MTU %d", l.mtu)
	}
	switch {
	case l.time == 0 && l.renew == 0 && l.rebind == 0: // for ever
	case l.time < time.Second || l.renew <= 0 || l.rebind <= l.renew || l.time <= l.rebind:
		t.Errorf("times %s, %s, %s", l.renew, l.rebind, l.time)
	}
	seen := make(map[netip.Prefix]bool)
	for _, r := range l.routes {
		if seen[r.Dst] || r.Dst != r.Dst.Masked() || r.Gateway == l.address.Addr() || r.Gateway.IsValid() && !isUnicast(r.Gateway) {
			t.Errorf("route %+v", r)
		}
		seen[r.Dst] = true
	}
	for _, a := range l.dns {
		if !isUnicast(a) {
			t.Errorf("DNS server %s", a)
		}
	}
	for _, name := range append([]string{l.hostname, l.domain}, l.search...) {
		if len(name) > 253 || strings.ContainsFunc(name, func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-_.", r)
		}) {
			t.Errorf("name %q", name)
		}
	}
}

// FuzzParseLease reads leases from packets. Each lease must be fit for the kernel, a log and
// net.json, and bounded.
func FuzzParseLease(f *testing.F) {
	addACKs(f)
	f.Fuzz(func(t *testing.T, packet []byte) {
		ack := received(packet)
		if ack == nil {
			return
		}
		l, invalid, err := parseLease(dhclient.NewPacket4(nil, ack))
		if err != nil {
			checkText(t, err.Error())
			return
		}
		if len(invalid) > maxInvalid || len(l.routes) > maxRoutes || len(l.dns) > maxServers || len(l.search) > maxSearch {
			t.Errorf("without bounds: %d invalid parts, %d routes, %d servers, %d names", len(invalid), len(l.routes), len(l.dns), len(l.search))
		}
		for _, text := range invalid {
			checkText(t, text)
		}
		checkLease(t, l)
		for _, role := range roleOrder {
			limited := l
			limited.routes = slices.Clone(l.routes)
			limited.limit(role)
			checkLease(t, limited)
			if limited.gateway().IsValid() && role != RolePrimary || len(limited.routes)+len(limited.dns)+len(limited.search) > 0 && !role.takesRoutes() {
				t.Errorf("a NIC with the role %s has %+v", role, limited)
			}
		}
		var n NIC
		n.setLease(l, time.Unix(1e9, 0))
		if _, err := json.Marshal(n); err != nil {
			t.Error(err)
		}
	})
}

// FuzzLibrary handles a packet as the libraries do in goroutines of their own, where a panic
// would end the daemon.
func FuzzLibrary(f *testing.F) {
	addACKs(f)
	f.Fuzz(func(t *testing.T, packet []byte) {
		m := received(packet)
		if m == nil {
			return
		}
		began := time.Now()
		_, _ = m.Summary(), m.String()
		if took := time.Since(began); took > time.Second {
			t.Errorf("it took %s to print a message of %d bytes", took, len(packet))
		}
		_ = (&nclient4.ErrNak{Offer: m, Nak: m}).Error()
		request, err := dhcpv4.NewRequestFromOffer(m, dhcpv4.WithHwAddr(fuzzMAC))
		if err != nil {
			return
		}
		if _, err := dhcpv4.FromBytes(request.ToBytes()); err != nil {
			t.Errorf("the answer to an offer cannot be read: %v", err)
		}
	})
}

// FuzzPacket sends an IPv4 packet to the client's raw socket. The filter passes what the
// client reads.
func FuzzPacket(f *testing.F) {
	ack := newACK(f, "10.0.2.15", raw(dhcpv4.OptionHostName, 'a'))
	ack.ClientHWAddr = fuzzMAC
	good := inIPv4(ack.ToBytes())
	f.Add(good)
	f.Add(append(bytes.Clone(good), 1, 2, 3)) // a trailer
	for _, n := range []int{0, 1, 19, 20, 27, 28, 29, 100, len(good) - 1} {
		f.Add(good[:n])
	}
	for at, v := range map[int]byte{0: 0x4f, 2: 0xff, 3: 0, 6: 0x20, 9: 6, 24: 0xff} {
		odd := bytes.Clone(good)
		odd[at] = v
		f.Add(odd)
	}
	assembled, err := bpf.Assemble(dhcpAnswers)
	if err != nil {
		f.Fatal(err)
	}
	program, _ := bpf.Disassemble(assembled)
	filter, err := bpf.NewVM(program)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, packet []byte) {
		conn := &port{nclient4.NewBroadcastUDPConn(&onePacket{packet: packet}, &net.UDPAddr{Port: dhcpv4.ClientPort}), nil}
		_, _, err := conn.ReadFrom(make([]byte, nclient4.MaxMessageSize))
		if err == nil {
			// The client would read a later fragment as a message.
			laterFragment := binary.BigEndian.Uint16(packet[6:])&0x1fff != 0
			if passed, err := filter.Run(packet); err != nil || (passed == 0) != laterFragment {
				t.Errorf("the filter passes %d bytes of a message for the client: %v", passed, err)
			}
		} else if err != io.EOF && err != os.ErrClosed {
			t.Errorf("read: %v", err)
		}
	})
}

// FuzzClaimant receives an ARP packet during a probe.
func FuzzClaimant(f *testing.F) {
	address := netip.MustParseAddr("10.0.2.15")
	f.Add(arpRequest(fuzzMAC, netip.IPv4Unspecified(), address))
	f.Add(arpRequest(fuzzMAC, netip.IPv4Unspecified(), address)[:arpLength-1])
	f.Add(append(bytes.Repeat([]byte{0, 1, 8, 0, 6, 4, 0, 2}, 1), bytes.Repeat([]byte{10, 0, 2, 15}, 8)...))
	f.Fuzz(func(t *testing.T, packet []byte) {
		mac := claimant(packet, address)
		if mac == nil {
			return
		}
		if len(mac) != 6 || !bytes.Contains(packet, address.AsSlice()) {
			t.Errorf("% x: %s has the address", packet, mac)
		}
		if len(packet) > 0 {
			packet[arpSenderMAC] ^= 1
		}
		if bytes.Equal(mac, packet[arpSenderMAC:arpSender]) {
			t.Error("the MAC address is the packet's own memory")
		}
	})
}
