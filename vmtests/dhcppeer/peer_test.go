package dhcppeer

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
)

var guestMAC = mac{0x52, 0x54, 0, 0, 0, 1}

// nic is a guest's end of the cable, as QEMU plays it, on which the IPv4 packets
// are read and written.
type nic struct {
	net.Conn
	t    *testing.T
	last *mac // the addressee of the last frame that was read
}

func (n nic) to() mac { return *n.last }

func plugIn(t *testing.T, p *Peer) nic {
	t.Helper()
	_, path, _ := strings.Cut(p.Netdev(), "addr.path=")
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return nic{conn, t, new(mac)}
}

func (n nic) frame() (etherType uint16, payload []byte, err error) {
	var length [4]byte
	if _, err := io.ReadFull(n, length[:]); err != nil {
		return 0, nil, err
	}
	frame := make([]byte, binary.BigEndian.Uint32(length[:]))
	if _, err := io.ReadFull(n, frame); err != nil {
		return 0, nil, err
	}
	*n.last = mac(frame[:6])
	if to := n.to(); to != guestMAC && to != broadcastMAC {
		n.t.Errorf("a frame for %x", to)
	}
	return binary.BigEndian.Uint16(frame[12:]), frame[14:], nil
}

func (n nic) sendFrame(etherType uint16, payload []byte) error {
	frame := ethernetFrame(broadcastMAC, guestMAC, etherType, payload)
	_, err := n.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(frame))), frame...))
	return err
}

func (n nic) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		etherType, packet, err := n.frame()
		if err != nil || etherType == etherTypeIPv4 {
			if err == nil && (checksum(packet[:20]) != 0 || checksum(pseudo(packet)) != 0) {
				n.t.Errorf("wrong checksum in % x", packet)
			}
			return copy(b, packet), &net.UDPAddr{}, err
		}
	}
}

// pseudo is what the checksum of a packet's datagram covers.
func pseudo(packet []byte) []byte {
	udp := packet[20:]
	header := append(bytes.Clone(packet[12:20]), 0, protocolUDP, byte(len(udp)>>8), byte(len(udp)))
	return append(header, udp...)
}

func (n nic) WriteTo(b []byte, _ net.Addr) (int, error) {
	return len(b), n.sendFrame(etherTypeIPv4, b)
}

func startPeer(t *testing.T, c Config) *Peer {
	t.Helper()
	p, err := Start(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

var testConfig = Config{
	Server: netip.MustParsePrefix("10.9.0.1/20"),
	Lease: Lease{
		Client: netip.MustParseAddr("10.9.0.15"), Time: 20 * time.Second,
		Options: []dhcpv4.Option{dhcpv4.OptRouter(net.IPv4(10, 9, 0, 1))},
	},
}

func client(t *testing.T, p *Peer) *nclient4.Client {
	t.Helper()
	conn := nclient4.NewBroadcastUDPConn(plugIn(t, p), &net.UDPAddr{Port: dhcpv4.ClientPort})
	c, err := nclient4.NewWithConn(conn, guestMAC[:], nclient4.WithTimeout(5*time.Second), nclient4.WithRetry(1))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestLease has the client library get a lease, and renew it.
func TestLease(t *testing.T) {
	p := startPeer(t, testConfig)
	c := client(t, p)
	lease, err := c.Request(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ack := lease.ACK
	if !ack.YourIPAddr.Equal(net.IPv4(10, 9, 0, 15)) || !ack.ServerIdentifier().Equal(net.IPv4(10, 9, 0, 1)) ||
		ack.IPAddressLeaseTime(0) != 20*time.Second || ack.SubnetMask().String() != "fffff000" || !ack.Router()[0].Equal(net.IPv4(10, 9, 0, 1)) {
		t.Errorf("the lease is %s", ack.Summary())
	}
	if p.Renewals() != 0 {
		t.Errorf("%d renewals of a new lease", p.Renewals())
	}
	if _, err := c.Renew(t.Context(), lease); err != nil {
		t.Fatal(err)
	}
	got := p.Received()
	if got[dhcpv4.MessageTypeDiscover] != 1 || got[dhcpv4.MessageTypeRequest] != 2 || len(got) != 2 || p.Renewals() != 1 {
		t.Errorf("received %v, %d renewals", got, p.Renewals())
	}
}

func TestAnotherAddressIsRefused(t *testing.T) {
	p := startPeer(t, testConfig)
	c := client(t, p)
	lease, err := c.Request(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	lease.ACK.YourIPAddr = net.IPv4(10, 9, 0, 77)
	if _, err := c.Renew(t.Context(), lease); !errors.As(err, new(*nclient4.ErrNak)) {
		t.Errorf("renewed: %v", err)
	}
	if p.Renewals() != 0 {
		t.Errorf("%d renewals", p.Renewals())
	}
}

func TestBehaviour(t *testing.T) {
	p := startPeer(t, testConfig)
	c := client(t, p)
	p.Behave(Silent)
	silence, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := c.Request(silence); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a silent server: %v", err)
	}
	if n := p.Received()[dhcpv4.MessageTypeDiscover]; n == 0 {
		t.Error("a silent server does not count")
	}
	const delay = 100 * time.Millisecond
	p.Behave(Delay(delay))
	start := time.Now()
	if _, err := c.Request(t.Context()); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took < 2*delay {
		t.Errorf("offer and ACK came after %v", took)
	}
}

// TestGarbage sends what a peer has to stand: the server still answers after it.
func TestGarbage(t *testing.T) {
	p := startPeer(t, testConfig)
	n := plugIn(t, p)
	good := datagram{
		from: netip.MustParseAddrPort("0.0.0.0:68"), to: netip.MustParseAddrPort("255.255.255.255:67"), payload: []byte("no DHCP"),
	}.packet()
	for cut := range good {
		if err := n.sendFrame(etherTypeIPv4, good[:cut]); err != nil {
			t.Fatal(err)
		}
		if err := n.sendFrame(0x0806, good[:cut]); err != nil {
			t.Fatal(err)
		}
		bad := bytes.Clone(good)
		bad[cut] ^= 0xff
		if err := n.sendFrame(etherTypeIPv4, bad); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := n.Write([]byte{0, 0, 0, 1, 0xff}); err != nil { // shorter than a header
		t.Fatal(err)
	}
	c, err := nclient4.NewWithConn(nclient4.NewBroadcastUDPConn(n, &net.UDPAddr{Port: dhcpv4.ClientPort}), guestMAC[:])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Request(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestNobodyReads has a guest take no more than the start of a frame off the cable:
// the peer closes all the same.
func TestNobodyReads(t *testing.T) {
	p, err := Start(testConfig)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := net.Pipe()
	p.link.plug(ours)
	sent := make(chan struct{})
	go func() {
		p.link.send(make([]byte, 100))
		close(sent)
	}()
	if _, err := theirs.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	closed := make(chan error, 1)
	go func() { closed <- p.Close() }()
	select {
	case err := <-closed:
		if err != nil {
			t.Error(err)
		}
		<-sent
	case <-time.After(10 * time.Second):
		t.Fatal("the peer does not close")
	}
}

func TestChecksum(t *testing.T) {
	// The example of RFC 1071 section 3, of even and odd length.
	b := []byte{0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7}
	if got := checksum(b); got != 0x220d {
		t.Errorf("%#x", got)
	}
	if got := checksum(b[:7]); got != 0x2304 {
		t.Errorf("odd: %#x", got)
	}
}
