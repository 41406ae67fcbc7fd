package netd

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"github.com/mdlayher/packet"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// How often, and how far apart, an address is asked for before it is used. RFC
// 5227 section 2.1.1 waits longer, for networks of many switches; a virtual
// network has one.
const (
	probes     = 3
	probePause = time.Second / 3
)

// probe looks for another host that has the address, or is about to take it, and
// returns that one's MAC address; nil is none.
func (w *worker) probe(ctx context.Context, link netlink.Link, address netip.Addr) (net.HardwareAddr, error) {
	a := link.Attrs()
	conn, err := listenPackets(link, unix.ETH_P_ARP, nil)
	if err != nil {
		return nil, fmt.Errorf("probe %s: %w", address, err)
	}
	defer conn.Close() //nolint:errcheck // it has served
	found := make(chan net.HardwareAddr, 1)
	w.d.spawn("probe on "+w.Name, func() {
		b := make([]byte, 128)
		for {
			n, _, err := conn.ReadFrom(b)
			if err != nil {
				return
			}
			if mac := claimant(b[:n], address); mac != nil && !bytes.Equal(mac, a.HardwareAddr) {
				found <- mac
				return
			}
		}
	})
	for range probes {
		if _, err := conn.WriteTo(arpProbe(a.HardwareAddr, address), &packet.Addr{HardwareAddr: nclient4.BroadcastMac}); err != nil {
			return nil, fmt.Errorf("probe %s: %w", address, err)
		}
		select {
		case mac := <-found:
			return mac, nil
		case <-w.d.cfg.After(probePause):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return nil, nil
}

// An ARP packet for IPv4 on Ethernet (RFC 826): the start that all have, and
// where the rest is.
var arpStart = []byte{0, 1, 8, 0, 6, 4, 0}

const (
	arpOperation = 7 // 1 is a request
	arpSenderMAC = 8
	arpSender    = 14
	arpTarget    = 24
	arpLength    = 28
)

// arpProbe asks for address on behalf of nobody, so that it enters no cache.
func arpProbe(own net.HardwareAddr, address netip.Addr) []byte {
	b := make([]byte, arpLength)
	copy(b, arpStart)
	b[arpOperation] = 1
	copy(b[arpSenderMAC:arpSender], own)
	binary.BigEndian.PutUint32(b[arpTarget:], binary.BigEndian.Uint32(address.AsSlice()))
	return b
}

// claimant is the MAC address of the host that the ARP packet b says has the
// address, or is probing for it, too; nil where it is about something else.
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
