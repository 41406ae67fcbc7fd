package netd

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"
)

// The number of probes for an address and the pause after each. RFC 5227 section
// 2.1.1 waits longer, for networks of many switches. A virtual network has one.
const (
	probes     = 3
	probePause = time.Second / 3
)

// probe returns the MAC address of another host that has the address, or is about to take it. It returns nil if there is none.
func (w *worker) probe(link *linkState, address netip.Addr) (net.HardwareAddr, error) {
	conn, err := listenPackets(link, unix.ETH_P_ARP, nil)
	if err != nil {
		return nil, fmt.Errorf("probe %s: %w", address, err)
	}
	defer conn.Close() //nolint:errcheck // only probes were sent
	found := make(chan net.HardwareAddr, 1)
	w.d.spawn("probe on "+w.Name, func() {
		b := make([]byte, 128)
		for {
			n, _, err := conn.ReadFrom(b)
			if err != nil {
				return
			}
			if mac := claimant(b[:n], address); mac != nil && !bytes.Equal(mac, link.HardwareAddr) {
				found <- mac
				return
			}
		}
	})
	for range probes {
		if _, err := conn.WriteTo(arpRequest(link.HardwareAddr, netip.IPv4Unspecified(), address), &packet.Addr{HardwareAddr: nclient4.BroadcastMac}); err != nil {
			return nil, fmt.Errorf("probe %s: %w", address, err)
		}
		select {
		case mac := <-found:
			return mac, nil
		case <-w.d.cfg.After(probePause):
		case <-link.up.Done():
			return nil, link.up.Err()
		}
	}
	return nil, nil
}

// announce tells all hosts on the link that the NIC has the address now, for as long as it has (RFC 5227 section 2.3). It does not wait,
// and lets other NICs get their leases first.
func (w *worker) announce(link *linkState, address netip.Addr) {
	const announcements, interval = 2, 2 * time.Second // RFC 5227 section 1.1
	w.d.spawn("announcements on "+w.Name, func() {
		if !pause(link.up, w.d.cfg.After(reportDelay)) {
			return
		}
		conn, err := listenPackets(link, unix.ETH_P_ARP, nil)
		if err == nil {
			defer conn.Close() //nolint:errcheck // only announcements were sent
		}
		for n := 0; err == nil && n < announcements; n++ {
			if n > 0 && !pause(link.up, w.d.cfg.After(interval)) || !w.has(address) {
				return
			}
			_, err = conn.WriteTo(arpRequest(link.HardwareAddr, address, address), &packet.Addr{HardwareAddr: nclient4.BroadcastMac})
		}
		if err != nil {
			w.log.Warn("cannot announce the address to the other hosts", "address", address, "err", err)
		}
	})
}

// has reports whether the NIC is configured with the address.
func (w *worker) has(address netip.Addr) bool {
	w.d.mu.Lock()
	defer w.d.mu.Unlock()
	return slices.ContainsFunc(w.nic.Addresses, func(p netip.Prefix) bool { return p.Addr() == address })
}

// An ARP packet for IPv4 on Ethernet (RFC 826): its constant start, and the offsets of its fields.
var arpStart = []byte{0, 1, 8, 0, 6, 4, 0}

const (
	arpSenderMAC = 8
	arpSender    = 14
	arpTarget    = 24
	arpLength    = 28
)

// arpRequest asks who has target. With 0.0.0.0 as the sender it is a probe, for which no host changes its ARP cache; with the target, an
// announcement, for which all do.
func arpRequest(own net.HardwareAddr, sender, target netip.Addr) []byte {
	const request = 1
	return slices.Concat(arpStart, []byte{request}, own, sender.AsSlice(), make([]byte, len(own)), target.AsSlice())
}

// claimant returns the MAC address of the sender of the ARP packet b, if the sender has the address or probes for it, too. Else it returns nil.
func claimant(b []byte, address netip.Addr) net.HardwareAddr {
	if len(b) < arpLength || !bytes.HasPrefix(b, arpStart) {
		return nil
	}
	sender, target := netip.AddrFrom4([4]byte(b[arpSender:])), netip.AddrFrom4([4]byte(b[arpTarget:]))
	if sender != address && (!sender.IsUnspecified() || target != address) {
		return nil
	}
	return bytes.Clone(b[arpSenderMAC:arpSender])
}
