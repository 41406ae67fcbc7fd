//go:build vmtest

package vmtests

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/arcinit/arcinit/pkg/arcsetup"
	"github.com/arcinit/arcinit/pkg/arcsetup/netd"
	"github.com/arcinit/arcinit/vmtests/dhcppeer"
	"github.com/arcinit/arcinit/vmtests/guest"
	"github.com/arcinit/arcinit/vmtests/probe"
	"github.com/insomniacslk/dhcp/dhcpv4"
)

// What the peers of both NICs lease.
const (
	primaryAddress = "10.9.0.15/24"
	bridgeAddress  = "10.9.1.15/24"
)

// leaseOf is a lease of an address, given with the length of its subnet's prefix,
// by a server that names itself as router and name server; further options add to
// these or replace them.
func leaseOf(client string, time time.Duration, options ...dhcpv4.Option) dhcppeer.Lease {
	prefix := netip.MustParsePrefix(client)
	server := prefix.Masked().Addr().Next().AsSlice()
	return dhcppeer.Lease{
		Client: prefix.Addr(), Time: time,
		Options: append([]dhcpv4.Option{dhcpv4.OptRouter(server), dhcpv4.OptDNS(net.IP(server))}, options...),
	}
}

// dhcpPeer is a NIC and the peer that it is wired to, the first address of the
// subnet.
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

// dhcpPeers are two NICs and the peers that they are wired to; the leases are
// for that time.
func dhcpPeers(t *testing.T, lease time.Duration) (nics []guest.NIC, peers []*dhcppeer.Peer) {
	t.Helper()
	for _, client := range []string{primaryAddress, bridgeAddress} {
		nic, peer := dhcpPeer(t, client, leaseOf(client, lease))
		nics, peers = append(nics, nic), append(peers, peer)
	}
	return nics, peers
}

// network is what the guest says of its NICs, by name.
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

// twoNICs is network where there are two.
func twoNICs(t *testing.T, m *machine) map[string]netd.NIC {
	t.Helper()
	nics := network(t, m)
	if len(nics) != 2 {
		t.Errorf("the network report has %d NICs", len(nics))
	}
	return nics
}

// TestAgentBeforeDHCP has servers that answer each message after 5 s: the agent
// runs long before there is a lease, and the guest's own reports say so.
func TestAgentBeforeDHCP(t *testing.T) {
	t.Parallel()
	const delay, before = 5 * time.Second, 3 * time.Second // twice the one, less the guest's boot
	nics, peers := dhcpPeers(t, time.Hour)
	for _, p := range peers {
		p.Behave(dhcppeer.Delay(delay))
	}
	m := boot(t, image{nics: nics})
	start := must[probe.AtStart](t, m, "AtStart", none{})
	address(t, m, "eth0", primaryAddress)
	address(t, m, "eth1", bridgeAddress)
	eventually(t, func() string {
		for name, n := range twoNICs(t, m) {
			if n.ConfiguredNS == 0 {
				return name + " has no lease in net.json"
			}
		}
		return ""
	})

	// The agent's clock is the kernel's, as is that of net.json.
	for name, n := range twoNICs(t, m) {
		configured := time.Duration(n.ConfiguredNS)
		t.Logf("the agent's first instruction came at %v, %s had its lease at %v", start.Uptime, name, configured)
		if configured-start.Uptime < before {
			t.Errorf("the agent began at %v, %s had its lease at %v", start.Uptime, name, configured)
		}
	}
	for _, l := range start.Links {
		if l.Name != "lo" && len(l.Addresses) > 0 {
			t.Errorf("when the agent began, %s had %v", l.Name, l.Addresses)
		}
	}

	report := m.run(t, arcsetup.ProgramPath, "report")
	column := func(pattern string) time.Duration {
		t.Helper()
		match := regexp.MustCompile(pattern).FindStringSubmatch(report.Stdout)
		if match == nil {
			t.Fatalf("no %s in\n%s%s", pattern, report.Stdout, report.Stderr)
		}
		ms, err := strconv.ParseFloat(match[1], 64)
		if err != nil {
			t.Fatal(err)
		}
		return time.Duration(ms * float64(time.Millisecond))
	}
	agent := column(`(?m)^ *([0-9.]+) +[0-9.]+  agent `)
	for _, name := range []string{"eth0", "eth1"} {
		lease := column(`(?m)^` + name + ` .* bound .* ([0-9.]+) ms`)
		if lease-agent < before {
			t.Errorf("uinit report has the agent at %v and %s at %v", agent, name, lease)
		}
	}
}

// TestAgentWithoutDHCP has servers that say nothing until the agent has run for a
// while.
func TestAgentWithoutDHCP(t *testing.T) {
	t.Parallel()
	nics, peers := dhcpPeers(t, time.Hour)
	for _, p := range peers {
		p.Behave(dhcppeer.Silent)
	}
	m := boot(t, image{nics: nics})
	start := must[probe.AtStart](t, m, "AtStart", none{})
	eventually(t, func() string {
		for i, p := range peers {
			if n := p.Received()[dhcpv4.MessageTypeDiscover]; n < 3 {
				return fmt.Sprintf("the server of eth%d was asked %d times", i, n)
			}
		}
		return ""
	})
	for name, n := range twoNICs(t, m) {
		if n.State != netd.StateDiscovering || len(n.Addresses) > 0 {
			t.Errorf("%s is %s with %v", name, n.State, n.Addresses)
		}
	}
	for _, p := range peers {
		p.Behave()
	}
	address(t, m, "eth0", primaryAddress)
	address(t, m, "eth1", bridgeAddress)
	if now := must[probe.AtStart](t, m, "AtStart", none{}); now.PID != start.PID {
		t.Errorf("the agent was process %d, and is %d", start.PID, now.PID)
	}
}
