package dhcppeer

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

const guestLinkLocal = "fe80::5054:ff:fe00:1" // of guestMAC (RFC 4291 appendix A)

// guestOf is a guest with an IP stack of its own, whose gateway is the peer.
func guestOf(t *testing.T, p *Peer, address string) *Host {
	t.Helper()
	n, err := newNetwork(guestMAC, netip.MustParsePrefix(address))
	if err != nil {
		t.Fatal(err)
	}
	n.stack.AddRoute(tcpip.Route{
		Destination: header.IPv4EmptySubnet, Gateway: stackAddress(p.Addr()), NIC: cable,
	})
	nic := plugIn(t, p)
	n.carry(func(frame []byte) {
		_, _ = nic.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(frame))), frame...))
	})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			var length [4]byte
			if _, err := io.ReadFull(nic, length[:]); err != nil {
				return
			}
			frame := make([]byte, binary.BigEndian.Uint32(length[:]))
			if _, err := io.ReadFull(nic, frame); err != nil {
				return
			}
			n.receive(frame)
		}
	}()
	t.Cleanup(func() {
		_ = nic.Close()
		<-done
		n.close()
	})
	return &Host{network: n, address: netip.MustParsePrefix(address).Addr()}
}

// echo answers one connection, line by line.
func echo(t *testing.T, l net.Listener, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close() //nolint:errcheck // a test's connection
		_, _ = io.Copy(conn, conn)
	}()
}

func talk(t *testing.T, from *Host, to string) {
	t.Helper()
	conn, err := from.Dial(short(t, 5*time.Second), netip.MustParseAddrPort(to))
	if err != nil {
		t.Error(err)
		return
	}
	defer conn.Close() //nolint:errcheck // a test's connection
	if _, err := fmt.Fprintln(conn, "hello"); err != nil {
		t.Error(err)
	}
	if got, err := bufio.NewReader(conn).ReadString('\n'); err != nil || got != "hello\n" {
		t.Errorf("%s says %q, %v", to, got, err)
	}
}

func short(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func ping(t *testing.T, from *Host, to string) {
	t.Helper()
	if err := from.Ping(short(t, 5*time.Second), netip.MustParseAddr(to)); err != nil {
		t.Error(err)
	}
}

func noPing(t *testing.T, from *Host, to string) {
	t.Helper()
	if err := from.Ping(short(t, 200*time.Millisecond), netip.MustParseAddr(to)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("ping %s from %s: %v", to, from.Addr(), err)
	}
}

// TestHosts has a host of each sort ping, be pinged, connect and be connected to.
func TestHosts(t *testing.T) {
	p := startPeer(t, testConfig)
	guest := guestOf(t, p, "10.9.0.15/20")
	neighbour, err := p.Neighbour(netip.MustParseAddr("10.9.0.2"))
	if err != nil {
		t.Fatal(err)
	}
	beyond, err := p.Beyond(netip.MustParseAddr("198.51.100.7"))
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range []*Host{&p.Host, neighbour, beyond} {
		t.Run(h.Addr().String(), func(t *testing.T) {
			ping(t, h, "10.9.0.15")
			ping(t, guest, h.Addr().String())
			l, err := h.Listen(80)
			echo(t, l, err)
			talk(t, guest, h.Addr().String()+":80")
			l, err = guest.Listen(80)
			echo(t, l, err)
			talk(t, h, "10.9.0.15:80")
			_ = l.Close()
		})
	}
	t.Run("nobody", func(t *testing.T) {
		noPing(t, guest, "10.9.0.3")
		noPing(t, guest, "198.51.100.8")
		noPing(t, &p.Host, "10.9.0.16")
		// The peer knows no way there, and says so.
		if conn, err := guest.Dial(short(t, 5*time.Second), netip.MustParseAddrPort("203.0.113.1:80")); err == nil || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("connected: %v, %v", conn, err)
		}
	})
	t.Run("link-local", func(t *testing.T) {
		ping(t, &p.Host, guestLinkLocal)
		noPing(t, &p.Host, "fe80::1")
	})
	t.Run("removed", func(t *testing.T) {
		if err := errors.Join(neighbour.Remove(), beyond.Remove()); err != nil {
			t.Fatal(err)
		}
		noPing(t, guest, "10.9.0.2")
		noPing(t, guest, "198.51.100.7")
		if err := beyond.Remove(); err == nil {
			t.Error("removed twice")
		}
	})
}

// TestListenAgain has a host listen where one who was connected to before still is.
func TestListenAgain(t *testing.T) {
	p := startPeer(t, testConfig)
	guest := guestOf(t, p, "10.9.0.15/20")
	for range 2 {
		l, err := p.Listen(80)
		if err != nil {
			t.Fatal(err)
		}
		_, dialErr := guest.Dial(short(t, 5*time.Second), netip.MustParseAddrPort("10.9.0.1:80"))
		_, acceptErr := l.Accept()
		if err := errors.Join(dialErr, acceptErr); err != nil {
			t.Fatal(err)
		}
		if _, err := p.Listen(80); err == nil {
			t.Error("two listen at the same time")
		}
		_ = l.Close()
	}
}

// TestRoute has a peer look on the link for addresses that are not of its subnet.
func TestRoute(t *testing.T) {
	p := startPeer(t, testConfig)
	guestOf(t, p, "172.17.0.2/16")
	to := netip.MustParseAddr("172.17.0.2")
	if err := p.Ping(short(t, time.Second), to); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("without a route: %v", err)
	}
	if err := p.Route(netip.MustParsePrefix("172.17.0.0/16")); err != nil {
		t.Fatal(err)
	}
	ping(t, &p.Host, to.String())
}

// TestGateway has a guest take for its gateway an address that is not of its
// subnet, and find nobody on the link who is beyond.
func TestGateway(t *testing.T) {
	p := startPeer(t, testConfig)
	gateway, gatewayErr := p.Neighbour(netip.MustParseAddr("192.0.2.1"))
	beyond, beyondErr := p.Beyond(netip.MustParseAddr("198.51.100.7"))
	if err := errors.Join(gatewayErr, beyondErr); err != nil {
		t.Fatal(err)
	}
	guest := guestOf(t, p, "10.9.0.15/32")
	guest.network.stack.SetRouteTable([]tcpip.Route{
		{Destination: header.IPv4EmptySubnet, Gateway: stackAddress(gateway.Addr()), NIC: cable},
	})
	ping(t, guest, "192.0.2.1")
	ping(t, guest, "198.51.100.7")
	ping(t, beyond, "10.9.0.15")
	guest.network.stack.SetRouteTable([]tcpip.Route{{Destination: header.IPv4EmptySubnet, NIC: cable}})
	ping(t, guest, "192.0.2.1")
	noPing(t, guest, "198.51.100.7")
}

// TestGarbageForHosts sends the IP stack what only looks like its protocols: hosts
// still answer after it.
func TestGarbageForHosts(t *testing.T) {
	p := startPeer(t, testConfig)
	guest := guestOf(t, p, "10.9.0.15/20")
	random := rand.New(rand.NewPCG(1, 2))
	starts := [][]byte{
		{0x08, 0x00, 0x45, 0}, {0x08, 0x00, 0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6}, {0x08, 0x00, 0x4f, 0}, {0x86, 0xdd, 0x60, 0},
		append([]byte{0x08, 0x06}, 0, 1, 8, 0, 6, 4, 0, 1), append([]byte{0x08, 0x06}, 0, 1, 8, 0, 6, 4, 0, 2), {},
	}
	for range 20000 {
		frame := slices.Concat(own[:], guestMAC[:], starts[random.IntN(len(starts))], make([]byte, random.IntN(100)))
		for i := 14; i < len(frame); i++ {
			if frame[i] == 0 {
				frame[i] = byte(random.IntN(256))
			}
		}
		p.receive(frame[:random.IntN(len(frame)+1)])
	}
	ping(t, guest, "10.9.0.1")
	ping(t, &p.Host, "10.9.0.15")
}
