package netd

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// subscribe returns a channel with the kernel's messages about links, IPv4 addresses
// and IPv4 routes until ctx ends. A nil slice means that messages were lost, because
// too many came at once. One socket for all keeps them in order.
func (d *daemon) subscribe(ctx context.Context) (<-chan []syscall.NetlinkMessage, error) {
	socket, err := openSubscription()
	if err != nil {
		return nil, err
	}
	events := make(chan []syscall.NetlinkMessage)
	d.spawn("subscription", func() {
		for {
			err := forward(ctx, socket, events)
			if errors.Is(err, unix.ENOBUFS) {
				// The kernel reports ENOBUFS again only after its whole queue has been
				// read. A new socket has an empty queue.
				if socket, err = openSubscription(); err == nil {
					select {
					case events <- nil:
					case <-ctx.Done():
					}
					continue
				}
			}
			d.fail(fmt.Errorf("receive messages about links, addresses and routes: %w", err))
			return
		}
	})
	return events, nil
}

func openSubscription() (*nl.NetlinkSocket, error) {
	socket, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV4_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("subscribe to links, addresses and routes: %w", err)
	}
	return socket, nil
}

// forward passes messages from socket on, until the socket fails or ctx ends, and
// closes the socket.
func forward(ctx context.Context, socket *nl.NetlinkSocket, events chan<- []syscall.NetlinkMessage) error {
	defer socket.Close()
	defer context.AfterFunc(ctx, socket.Close)()
	for {
		messages, from, err := socket.Receive()
		if err != nil {
			return err
		}
		if from.Pid != nl.PidKernel {
			continue // any process may send to the socket
		}
		select {
		case events <- messages:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// isDisturbing reports whether a message is about another program's change to a
// route of ours: the route was removed or replaced.
func isDisturbing(m syscall.NetlinkMessage) bool {
	r := nl.DeserializeRtMsg(m.Data)
	if r.Table != unix.RT_TABLE_MAIN || r.Type != unix.RTN_UNICAST {
		return false
	}
	if m.Header.Type == unix.RTM_DELROUTE {
		return r.Protocol == unix.RTPROT_DHCP
	}
	return r.Protocol != unix.RTPROT_DHCP && m.Header.Flags&unix.NLM_F_REPLACE != 0
}

// isRival reports whether a message is about a default route that another program
// added.
func isRival(m syscall.NetlinkMessage) bool {
	r := nl.DeserializeRtMsg(m.Data)
	return m.Header.Type == unix.RTM_NEWROUTE && r.Table == unix.RT_TABLE_MAIN && r.Dst_len == 0 && r.Protocol != unix.RTPROT_DHCP
}

// logRivals logs each default route of another program once. Such routes stay.
func (d *daemon) logRivals() {
	routes, err := d.kernel.routes()
	if err != nil {
		d.log.Debug("cannot look for default routes of other programs", "err", err)
	}
	for _, r := range routes {
		if prefix(r.Dst).Bits() == 0 && r.Protocol != unix.RTPROT_DHCP && len(d.rivals.unseen(r.String())) > 0 {
			d.log.Warn("another program has added a default route; leaving it alone", "route", r)
		}
	}
}
