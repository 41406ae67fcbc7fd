package dhcppeer

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// Host is an IPv4 address on the peer's side of the cable. It answers pings.
type Host struct {
	network *network
	address netip.Addr
}

// Addr is the host's address.
func (h *Host) Addr() netip.Addr { return h.address }

// Dial opens a TCP connection from the host to an address in the server's subnet or in one
// given to Peer.Route. It dials link-local IPv6 addresses from the peer's own.
func (h *Host) Dial(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	from, remote, protocol := h.route(to)
	conn, err := gonet.DialTCPWithBind(ctx, h.network.stack, from, remote, protocol)
	if err != nil {
		return nil, fmt.Errorf("connect %s to %s: %w", h.address, to, err)
	}
	return conn, nil
}

// backlog is how many connections may wait to be accepted.
const backlog = 16

// Listen accepts TCP connections to the host.
func (h *Host) Listen(port uint16) (net.Listener, error) {
	failed := func(err tcpip.Error) error {
		return fmt.Errorf("listen on port %d of %s: %w", port, h.address, failure(err))
	}
	var queue waiter.Queue
	endpoint, err := h.network.stack.NewEndpoint(tcp.ProtocolNumber, ipv4.ProtocolNumber, &queue)
	if err != nil {
		return nil, failed(err)
	}
	// As in package net: connections of an earlier listener may still be open.
	endpoint.SocketOptions().SetReuseAddress(true)
	if err = endpoint.Bind(tcpip.FullAddress{Addr: stackAddress(h.address), Port: port}); err == nil {
		err = endpoint.Listen(backlog)
	}
	if err != nil {
		endpoint.Close()
		return nil, failed(err)
	}
	return gonet.NewTCPListener(h.network.stack, &queue, endpoint), nil
}

// Ping sends one ICMP echo request and waits for the answer until ctx ends. Addresses are as
// for Dial.
func (h *Host) Ping(ctx context.Context, to netip.Addr) error {
	if err := h.ping(ctx, to); err != nil {
		return fmt.Errorf("ping %s from %s: %w", to, h.address, err)
	}
	return nil
}

func (h *Host) ping(ctx context.Context, to netip.Addr) error {
	from, remote, protocol := h.route(netip.AddrPortFrom(to, 0))
	transport, request, reply := icmp.ProtocolNumber4, byte(header.ICMPv4Echo), byte(header.ICMPv4EchoReply)
	if protocol == ipv6.ProtocolNumber {
		transport, request, reply = icmp.ProtocolNumber6, byte(header.ICMPv6EchoRequest), byte(header.ICMPv6EchoReply)
	}
	var queue waiter.Queue
	endpoint, err := h.network.stack.NewEndpoint(transport, protocol, &queue)
	if err != nil {
		return failure(err)
	}
	conn := gonet.NewUDPConn(&queue, endpoint) // also works for ICMP
	defer conn.Close()                         //nolint:errcheck // frees the identifier
	if from != (tcpip.FullAddress{}) {
		if err := endpoint.Bind(from); err != nil {
			return failure(err)
		}
	}
	if err := endpoint.Connect(remote); err != nil {
		return failure(err)
	}
	defer context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(0, 1)) })()

	// Type, code, checksum and identifier, which the stack fills in, sequence number (RFC
	// 792, RFC 4443 section 4.1), and a payload that the answer repeats.
	echo := append([]byte{request, 0, 0, 0, 0, 0, 0, 1}, "are you there?"...)
	if _, err := conn.Write(echo); err != nil {
		return err
	}
	answer := make([]byte, 2*len(echo))
	n, readErr := conn.Read(answer)
	if ctx.Err() != nil {
		return fmt.Errorf("no answer: %w", ctx.Err())
	}
	if readErr != nil {
		return readErr
	}
	if n != len(echo) || answer[0] != reply || !bytes.Equal(answer[6:n], echo[6:]) {
		return fmt.Errorf("the answer is % x", answer[:n])
	}
	return nil
}

// Remove removes the host from the network.
func (h *Host) Remove() error { return h.network.remove(h.address) }

// route returns a packet's source, destination and protocol. The stack chooses its own
// link-local address.
func (h *Host) route(to netip.AddrPort) (from, remote tcpip.FullAddress, protocol tcpip.NetworkProtocolNumber) {
	remote = tcpip.FullAddress{Addr: stackAddress(to.Addr()), Port: to.Port()}
	if to.Addr().Is6() {
		remote.NIC = cable
		return tcpip.FullAddress{}, remote, ipv6.ProtocolNumber
	}
	return tcpip.FullAddress{Addr: stackAddress(h.address)}, remote, ipv4.ProtocolNumber
}
