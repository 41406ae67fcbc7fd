//go:build vmtest

package vmtests

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/arcinit/arcinit/pkg/arcsetup/netd"
	"github.com/arcinit/arcinit/vmtests/dhcppeer"
	"github.com/arcinit/arcinit/vmtests/guest"
	"github.com/arcinit/arcinit/vmtests/probe"
	"github.com/insomniacslk/dhcp/dhcpv4"
)

// The addresses that the peers of both NICs lease.
const (
	primaryAddress = "10.9.0.15/24"
	bridgeAddress  = "10.9.1.15/24"
)

// leaseOf returns a lease of an address with a prefix length. The server is the router
// and the name server, too. Further options add to these or replace them.
func leaseOf(client string, time time.Duration, options ...dhcpv4.Option) dhcppeer.Lease {
	prefix := netip.MustParsePrefix(client)
	server := prefix.Masked().Addr().Next().AsSlice()
	return dhcppeer.Lease{
		Client: prefix.Addr(), Time: time,
		Options: append([]dhcpv4.Option{dhcpv4.OptRouter(server), dhcpv4.OptDNS(net.IP(server))}, options...),
	}
}

// dhcpPeer returns a NIC and the peer that it is wired to. The peer has the first
// address of the subnet.
func dhcpPeer(t *testing.T, client string, lease dhcppeer.Lease) (guest.NIC, *dhcppeer.Peer) {
	t.Helper()
	prefix := netip.MustParsePrefix(client)
	peer, err := dhcppeer.Start(dhcppeer.Config{
		Server: netip.PrefixFrom(prefix.Masked().Addr().Next(), prefix.Bits()), Lease: lease,
		Seed: uint64(prefix.Addr().As4()[2]), // peers do not all fail at the same time
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := peer.Close(); err != nil {
			t.Error(err)
		}
	})
	return guest.NIC{Netdev: peer.Netdev()}, peer
}

// dhcpPeers returns two NICs and the peers that they are wired to, which lease for that
// time.
func dhcpPeers(t *testing.T, lease time.Duration) (nics []guest.NIC, peers []*dhcppeer.Peer) {
	t.Helper()
	for _, client := range []string{primaryAddress, bridgeAddress} {
		nic, peer := dhcpPeer(t, client, leaseOf(client, lease))
		nics, peers = append(nics, nic), append(peers, peer)
	}
	return nics, peers
}

// network returns the NICs of the guest's own report, by name.
func network(t *testing.T, m *machine) map[string]netd.NIC {
	t.Helper()
	var r netd.Report
	if err := json.Unmarshal([]byte(m.read(t, netd.DefaultReport)), &r); err != nil {
		t.Fatal(err)
	}
	nics := map[string]netd.NIC{}
	for _, n := range r.NICs {
		nics[n.Name] = n
	}
	return nics
}

// TestServerAppears has no server answer while the agent starts, then pulls the cables and
// plugs them in again, and has the servers answer after some more tries.
func TestServerAppears(t *testing.T) {
	t.Parallel()
	nics, peers := dhcpPeers(t, time.Hour)
	for _, p := range peers {
		p.Behave(dhcppeer.Silent)
	}
	arp := newCapture(t, 0)
	m := boot(t, image{nics: nics, cmdline: []string{quiet, "arcbox.hostname=guest-1"}, qemu: arp.qemu()})
	start := must[probe.AtStart](t, m, "AtStart", none{})
	for _, l := range start.Links {
		if l.Name != "lo" && len(l.Addresses) > 0 {
			t.Errorf("when the agent began, %s had %v", l.Name, l.Addresses)
		}
	}
	var talks []talk
	for i, p := range peers {
		m.plug(t, i, false)
		state(t, m, fmt.Sprintf("eth%d", i), netd.StateNoCarrier)
		talks = append(talks, since(p))
		m.plug(t, i, true)
	}
	for i, s := range talks {
		name := fmt.Sprintf("eth%d", i)
		t.Run(name+"/tries", func(t *testing.T) { testTries(t, macs[i], s) })
		if n := network(t, m)[name]; n.State != netd.StateDiscovering || len(n.Addresses) > 0 || n.Error == "" {
			t.Errorf("net.json has %+v", n)
		}
	}
	if talks[0].Messages()[0].TransactionID == talks[1].Messages()[0].TransactionID {
		t.Error("both NICs have the same transaction ID")
	}

	for i, p := range peers {
		s := since(p)
		p.Behave()
		answers(t, &p.Host, leased[i])
		if got, want := s.exchanged(), []dhcppeer.Kind{dhcppeer.Discover, dhcppeer.Selecting}; !slices.Equal(got, want) {
			t.Errorf("eth%d: the guest sent %q, want %q", i, got, want)
		}
		n := state(t, m, fmt.Sprintf("eth%d", i), netd.StateBound)
		// Both are times since the kernel started.
		if configured := time.Duration(n.ConfiguredNS); configured <= start.Uptime {
			t.Errorf("%s was configured at %v, before the agent began at %v", n.Name, configured, start.Uptime)
		}
	}
	if now := must[probe.AtStart](t, m, "AtStart", none{}); now.PID != start.PID {
		t.Errorf("the agent was process %d, and is %d", start.PID, now.PID)
	}
	t.Run("untouched", func(t *testing.T) {
		if got := m.read(t, "/etc/resolv.conf"); got != "nameserver 127.0.0.1\n" {
			t.Errorf("/etc/resolv.conf holds %q", got)
		}
		for key, want := range map[string]string{
			"all/forwarding": "0\n", "eth0/forwarding": "0\n", "eth0/accept_ra": "2\n", "eth1/accept_ra": "2\n",
			"eth0/accept_ra_defrtr": "1\n", "eth1/accept_ra_defrtr": "0\n",
		} {
			if got := m.read(t, "/proc/sys/net/ipv6/conf/"+key); got != want {
				t.Errorf("ipv6 %s is %q, want %q", key, got, want)
			}
		}
		if n := arp.requests(t, netip.IPv4Unspecified(), leased[0]); n != 0 {
			t.Errorf("%d ARP probes were sent", n)
		}
	})
	t.Run("announced", func(t *testing.T) {
		eventually(t, func() string { return fewer(arp.requests(t, leased[0], leased[0]), 2) })
	})
	for i, p := range peers {
		testMessages(t, macs[i], p)
	}
}

// testTries looks at what a NIC asks from the first DISCOVER on, while no server answers:
// each try has four messages. They carry the guest's own clock, in whole seconds since
// the first try began.
func testTries(t *testing.T, mac string, s talk) {
	const sends, tries, try = 4, 3, 1 // seconds at least
	eventually(t, func() string {
		if n := len(s.Messages()); n <= sends*tries {
			return fmt.Sprintf("the guest has sent %d messages, want more than %d tries", n, tries)
		}
		return ""
	})
	messages := s.Messages()
	began := uint16(0) // the try
	for i, m := range messages[:sends*tries] {
		if m.Kind != dhcppeer.Discover || m.TransactionID != messages[0].TransactionID {
			t.Errorf("message %d is a %s of transaction %s, want a DISCOVER of %s", i, m.Kind, m.TransactionID, messages[0].TransactionID)
		}
		isFirst := i%sends == 0
		if isFirst && i > 0 && m.NumSeconds < began+try || !isFirst && m.NumSeconds != began || i == 0 && m.NumSeconds != 0 {
			t.Errorf("message %d of try %d was sent after %d s, the try before began after %d s", i%sends, i/sends, m.NumSeconds, began)
		}
		began = m.NumSeconds
	}
	m := messages[0]
	if got := m.ClassIdentifier(); got != "arcinit" {
		t.Errorf("class ID %q", got)
	}
	if got, want := fmt.Sprintf("% x", m.Options.Get(dhcpv4.OptionClientIdentifier)), "01 "+strings.ReplaceAll(mac, ":", " "); got != want {
		t.Errorf("client ID %s, want %s", got, want)
	}
	if got := m.ClientHWAddr.String(); got != mac {
		t.Errorf("client's MAC address %s, want %s", got, mac)
	}
	if got := m.HostName(); got != "guest-1" {
		t.Errorf("host name %q", got)
	}
	asked := m.Options.Get(dhcpv4.OptionParameterRequestList)
	for _, code := range []byte{1, 3, 12, 15, 26, 119, 121} {
		if !slices.Contains(asked, code) {
			t.Errorf("option %d is not asked for: %v", code, asked)
		}
	}
	if slices.Index(asked, 121) > slices.Index(asked, 3) {
		t.Errorf("option 3 is asked for before 121 (RFC 3442): %v", asked)
	}
}
