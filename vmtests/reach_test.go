//go:build vmtest

package vmtests

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/arcinit/arcinit/vmtests/dhcppeer"
)

// Addresses beyond the gateways that the servers of both NICs name.
var (
	beyondPrimary = netip.MustParseAddr("198.51.100.7")
	beyondBridge  = netip.MustParseAddr("203.0.113.7")
)

// TestReach checks with packets, not with tables, what the guest can reach and what
// can reach the guest.
func TestReach(t *testing.T) {
	t.Parallel()
	nics, peers := dhcpPeers(t, time.Hour)
	m := boot(t, image{nics: nics})
	primary, bridge := peers[0], peers[1]
	address(t, m, "eth0", primaryAddress)
	address(t, m, "eth1", bridgeAddress)
	must[none](t, m, "Echo", ":7") // IPv4 and IPv6

	for i, p := range peers {
		name := fmt.Sprintf("eth%d", i)
		guest := netip.MustParsePrefix([]string{primaryAddress, bridgeAddress}[i]).Addr()
		t.Run(name+"/ping", func(t *testing.T) { ping(t, &p.Host, guest) })
		t.Run(name+"/tcp", func(t *testing.T) { echoed(t, &p.Host, netip.AddrPortFrom(guest, 7)) })
		t.Run(name+"/link-local", func(t *testing.T) {
			// Derived from the NIC's MAC address (RFC 4291 appendix A). The guest
			// probes it for a second before it uses it (RFC 4862 section 5.4).
			linkLocal := netip.MustParseAddr(fmt.Sprintf("fe80::5054:ff:fe00:%d", i+1))
			ping(t, &p.Host, linkLocal)
			echoed(t, &p.Host, netip.AddrPortFrom(linkLocal, 7))
		})
		t.Run(name+"/from the guest", func(t *testing.T) {
			listen(t, &p.Host)
			reaches(t, m, p.Addr())
		})
	}
	t.Run("beyond", func(t *testing.T) {
		for p, a := range map[*dhcppeer.Peer]netip.Addr{primary: beyondPrimary, bridge: beyondBridge} {
			h, err := p.Beyond(a)
			if err != nil {
				t.Fatal(err)
			}
			listen(t, h)
		}
		reaches(t, m, beyondPrimary)
		// The guest must not use the gateway that the bridge's server names.
		if got, err := ask[string](m, "Dial", netip.AddrPortFrom(beyondBridge, 7).String()); err == nil {
			t.Errorf("%s, beyond the bridge's gateway, answered %q", beyondBridge, got)
		}
	})
	t.Run("lo", func(t *testing.T) {
		for _, a := range []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()} {
			reaches(t, m, a)
		}
	})
}

// pinged pings an address once, and waits two seconds for the answer.
func pinged(t *testing.T, from *dhcppeer.Host, to netip.Addr) error {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	return from.Ping(ctx, to)
}

// ping pings an address until it answers.
func ping(t *testing.T, from *dhcppeer.Host, to netip.Addr) {
	t.Helper()
	eventually(t, func() string {
		if err := pinged(t, from, to); err != nil {
			return err.Error()
		}
		return ""
	})
}

// patience is how long an answer may take that must come.
const patience = 30 * time.Second

// echoed checks that the guest answers a line over TCP.
func echoed(t *testing.T, from *dhcppeer.Host, to netip.AddrPort) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn, err := from.Dial(ctx, to)
	if err != nil {
		t.Error(err)
		return
	}
	defer conn.Close() //nolint:errcheck // a test's connection
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintln(conn, "hello"); err != nil {
		t.Error(err)
	}
	if got, err := bufio.NewReader(conn).ReadString('\n'); err != nil || got != "echo hello\n" {
		t.Errorf("%s answered %q, %v", to, got, err)
	}
}

// listen makes a host answer a line of each connection to port 7, as the guest does.
func listen(t *testing.T, h *dhcppeer.Host) {
	t.Helper()
	answerLines(t, h, func(_ net.Addr, line string) string { return "echo " + line })
}

// answerLines makes a host answer a line of each connection to port 7 until the test
// ends. It reads the line first, because an unread line would reset the connection.
func answerLines(t *testing.T, h *dhcppeer.Host, answer func(from net.Addr, line string) string) {
	t.Helper()
	l, err := h.Listen(7)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			if line, err := bufio.NewReader(conn).ReadString('\n'); err == nil {
				_, _ = fmt.Fprint(conn, answer(conn.RemoteAddr(), line))
			}
			_ = conn.Close()
		}
	}()
}

// reaches checks that the guest can send a line to port 7 of an address and gets it back.
func reaches(t *testing.T, m *machine, to netip.Addr) {
	t.Helper()
	if got := must[string](t, m, "Dial", netip.AddrPortFrom(to, 7).String()); got != "echo hello\n" {
		t.Errorf("%s answered %q", to, got)
	}
}
