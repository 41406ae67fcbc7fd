//go:build vmtest && soak

package vmtests

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/arcinit/arcinit/pkg/arcsetup/netd"
	"github.com/arcinit/arcinit/vmtests/dhcppeer"
	"github.com/arcinit/arcinit/vmtests/guest"
	"github.com/arcinit/arcinit/vmtests/probe"
	"github.com/insomniacslk/dhcp/dhcpv4"
)

// The tests in this file measure times on the host's clock, so they need a host without
// other work.

// within checks the time from one moment to another.
func within(t *testing.T, what string, from, to time.Time, least, most time.Duration) {
	t.Helper()
	if took := to.Sub(from); took < least || took > most {
		t.Errorf("%s: after %v, want %v to %v", what, took.Round(time.Millisecond), least, most)
	}
}

// TestLeaseTimes measures tries, renewals, and the end of a lease.
func TestLeaseTimes(t *testing.T) {
	const (
		lease  = 20 * time.Second
		t1, t2 = lease / 2, 14 * time.Second
		try    = 2 * time.Second
		sends  = 4
		slack  = 250 * time.Millisecond
	)
	nic, p := dhcpPeer(t, primaryAddress, leaseOf(primaryAddress, lease, dhcpv4.OptRenewTimeValue(t1), dhcpv4.OptRebindingTimeValue(t2)))
	p.Behave(dhcppeer.Silent)
	m := boot(t, image{nics: []guest.NIC{nic}, cmdline: []string{quiet}, timeout: 5 * time.Minute})
	must[probe.AtStart](t, m, "AtStart", none{})
	m.plug(t, 0, false)
	state(t, m, "eth0", netd.StateNoCarrier)
	s, plugged := since(p), time.Now()
	m.plug(t, 0, true)
	within(t, "the first DISCOVER after the link is up", plugged, s.heard(t, dhcppeer.Discover).At, 0, time.Second)
	eventually(t, func() string {
		if n := len(s.Messages()); n < 6*sends {
			return fmt.Sprintf("the guest has sent %d messages", n)
		}
		return ""
	})
	// Each pause of a try is twice as long as the one before. One late message makes
	// others early: the median counts.
	var pauses [sends][]time.Duration
	var began time.Time // the try
	for i, message := range s.Messages() {
		if i > 0 {
			pauses[i%sends] = append(pauses[i%sends], message.At.Sub(began))
		}
		if i%sends == 0 {
			began = message.At
		}
	}
	for n, all := range pauses {
		want := try
		if n > 0 {
			want = try / (1<<sends - 1) * (1<<n - 1)
		}
		if (median(all) - want).Abs() > slack {
			t.Errorf("message %d of a try comes after %v, want %v", n, all, want)
		}
	}

	s = since(p)
	p.Behave()
	offered := s.sent(t, dhcpv4.MessageTypeOffer).At
	answers(t, &p.Host, leased[0])
	within(t, "a ping after the offer", offered, time.Now(), 0, 3*time.Second)
	eventuallyWithin(t, 2*time.Minute, func() string { return fewer(p.Renewals(), 5) })
	var acks []time.Time
	for _, r := range s.Replies() {
		if r.Type == dhcpv4.MessageTypeAck {
			acks = append(acks, r.At)
		}
	}
	for i, ack := range acks[1:] {
		within(t, "renewed after the last ACK", acks[i], ack, t1-slack, t1+time.Second)
	}

	p.Behave(dhcppeer.Silent)
	s = since(p)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	pings := startPinging(ctx, &p.Host, leased[0])
	s.heard(t, dhcppeer.Discover)
	cancel()
	pings.done.Wait()
	last := acks[len(acks)-1]
	within(t, "renewing after the last ACK", last, s.of(dhcppeer.Renewing)[0].At, t1-slack, t1+time.Second)
	within(t, "rebinding after the last ACK", last, s.of(dhcppeer.Rebinding)[0].At, t2-slack, t2+time.Second)
	within(t, "starting over after the last ACK", last, s.of(dhcppeer.Discover)[0].At, lease-slack, lease+2*time.Second)
	pings.noneLost(t, last.Add(lease-time.Second))
}

// TestLoss loses half of all messages, both ways, in 20 exchanges.
func TestLoss(t *testing.T) {
	const rounds, most = 10, 30 * time.Second
	nics, peers := dhcpPeers(t, time.Hour)
	m := boot(t, image{nics: nics, cmdline: []string{quiet}, timeout: 8 * time.Minute})
	for i, p := range peers {
		answers(t, &p.Host, leased[i])
		// The server refuses the old address for sure. All later messages may get lost.
		p.Behave(dhcppeer.On(dhcppeer.Refuse, dhcppeer.InitReboot),
			dhcppeer.On(dhcppeer.Lose(0.5), dhcppeer.Discover, dhcppeer.Selecting))
	}
	var took []time.Duration
	discovers := 0
	for range rounds {
		talks := []talk{since(peers[0]), since(peers[1])}
		must[none](t, m, "SetClock", 2*time.Second) // makes the guest ask
		for i, s := range talks {
			nak, ack := s.sent(t, dhcpv4.MessageTypeNak), s.sent(t, dhcpv4.MessageTypeAck)
			answers(t, &s.Host, leased[i])
			took = append(took, ack.At.Sub(nak.At))
			discovers += len(s.of(dhcppeer.Discover))
		}
	}
	t.Logf("%d exchanges took %v; %.1f DISCOVERs each", len(took), took, float64(discovers)/float64(len(took)))
	if longest := slices.Max(took); longest > most {
		t.Errorf("the longest took %v", longest)
	}
	if discovers < 2*len(took) {
		t.Errorf("%d exchanges took %d DISCOVERs: none was lost", len(took), discovers)
	}
}
