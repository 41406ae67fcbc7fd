//go:build vmtest && full

package vmtests

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/arcinit/arcinit/pkg/arcsetup/netd"
	"github.com/arcinit/arcinit/vmtests/dhcppeer"
	"github.com/arcinit/arcinit/vmtests/probe"
	"github.com/insomniacslk/dhcp/dhcpv4"
)

// TestAsleep stops the machine until its lease is over by the host's clock, as a host does that sleeps, and for an hour by the clock that
// the host sets then. While it slept, the server gave the address away.
func TestAsleep(t *testing.T) {
	t.Parallel()
	const lease, fresh = 10 * time.Second, "10.9.0.77/24"
	nics, peers := dhcpPeers(t, lease)
	m := boot(t, image{nics: nics, cmdline: []string{quiet}, tools: true, timeout: 5 * time.Minute})
	for i, p := range peers {
		answers(t, &p.Host, leased[i])
	}
	for _, by := range []time.Duration{lease, time.Hour} {
		m.qmp(t, "stop", nil)
		<-time.After(lease + 2*time.Second)
		peers[0].Lease(leaseOf(fresh, lease)) // the other server grants the address again
		both := []talk{since(peers[0]), since(peers[1])}
		m.qmp(t, "cont", nil)
		must[none](t, m, "SetClock", by)
		for _, s := range both {
			s.sent(t, dhcpv4.MessageTypeAck)
		}
		if by == lease {
			both[0].sent(t, dhcpv4.MessageTypeNak)
		}
		answers(t, &peers[0].Host, netip.MustParsePrefix(fresh).Addr())
		answers(t, &peers[1].Host, leased[1])
		if l := link(must[[]probe.Link](t, m, "Links", none{}), "eth0"); !slices.Equal(l.Addresses, []string{fresh}) {
			t.Errorf("after %v asleep eth0 has %v, want %s alone", by, l.Addresses, fresh)
		}
		if n := len(both[1].of(dhcppeer.Discover)); n > 0 {
			t.Errorf("after %v asleep eth1 started over, with a server that grants its address: %q", by, both[1].kinds())
		}
		// The second time the guest keeps what it has, which is no event.
		for _, event := range []string{"address=" + fresh, "address=" + bridgeAddress, "lease of " + leased[0].String() + ":"} {
			if lines := m.netdLines(t, event); len(lines) != 1 {
				t.Errorf("after %v asleep one event was logged as %q", by, lines)
			}
		}
	}
}

// TestFastServer has a server whose clock runs twice as fast: it forgets each lease after half of its time, and gives the address to
// somebody else. The guest must give each address up as soon as the server says so, and get another.
func TestFastServer(t *testing.T) {
	t.Parallel()
	const lease = 8 * time.Second
	nics, peers := dhcpPeers(t, lease)
	m := boot(t, image{nics: nics, cmdline: []string{quiet}, tools: true, timeout: 5 * time.Minute})
	answers(t, &peers[0].Host, leased[0])
	old := leased[0]
	for range 4 {
		fresh := old.Next()
		s := since(peers[0])
		peers[0].Lease(leaseOf(netip.PrefixFrom(fresh, 24).String(), lease)) // it refuses to renew the old one
		s.sent(t, dhcpv4.MessageTypeNak)
		rival, err := peers[0].Neighbour(old)
		if err != nil {
			t.Fatal(err)
		}
		answers(t, &peers[0].Host, fresh)
		if got := s.exchanged(); !slices.Contains(got, dhcppeer.Renewing) || !slices.Contains(got, dhcppeer.Discover) {
			t.Errorf("the guest sent %q", got)
		}
		if l := link(must[[]probe.Link](t, m, "Links", none{}), "eth0"); !slices.Equal(l.Addresses, []string{netip.PrefixFrom(fresh, 24).String()}) {
			t.Errorf("eth0 has %v, want %s alone", l.Addresses, fresh)
		}
		if lines := m.netdLines(t, "address="+netip.PrefixFrom(fresh, 24).String()); len(lines) != 1 {
			t.Errorf("one lease was logged as %q", lines)
		}
		if lines := m.netdLines(t, "lease of "+old.String()+":"); len(lines) != 1 {
			t.Errorf("one refusal was logged as %q", lines)
		}
		if err := rival.Remove(); err != nil {
			t.Fatal(err)
		}
		old = fresh
	}
	state(t, m, "eth0", netd.StateBound)
}

// netdLines returns what the network daemon has logged with that text.
func (m *machine) netdLines(t *testing.T, text string) (lines []string) {
	t.Helper()
	for _, r := range must[[]probe.Record](t, m, "KernelLog", none{}) {
		if strings.Contains(r.Text, "netd: ") && strings.Contains(r.Text, text) {
			lines = append(lines, r.Text)
		}
	}
	return lines
}
