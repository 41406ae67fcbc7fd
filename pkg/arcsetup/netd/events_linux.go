package netd

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// subscribe returns a channel with the kernel's messages about links, IPv4 addresses and IPv4 routes until ctx ends. It
// signals lost when messages were lost, because too many came at once. One socket for all keeps them in order.
func (d *daemon) subscribe(ctx context.Context, lost chan<- struct{}) (<-chan []syscall.NetlinkMessage, error) {
	socket, err := openSubscription()
	if err != nil {
		return nil, fmt.Errorf("subscribe to links, addresses and routes: %w", err)
	}
	events := make(chan []syscall.NetlinkMessage)
	d.spawn("subscription", func() {
		err := forward(ctx, socket, events)
		for errors.Is(err, unix.ENOBUFS) {
			// The kernel reports ENOBUFS again only after its whole queue has been read. A new socket has an empty queue.
			if socket, err = openSubscription(); err != nil {
				break
			}
			signal(lost)
			err = forward(ctx, socket, events)
		}
		d.fail(fmt.Errorf("receive messages about links, addresses and routes: %w", err))
	})
	return events, nil
}

func openSubscription() (*nl.NetlinkSocket, error) {
	return nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV4_ROUTE)
}

// forward passes messages from socket on, until the socket fails or ctx ends, and closes the socket.
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

// routeChanged handles a change to the main table. Routes of ours come back. Other
// programs' default routes stay: the primary NIC's has metric 0 and wins.
func (d *daemon) routeChanged(m syscall.NetlinkMessage) {
	r := nl.DeserializeRtMsg(m.Data)
	if r.Table != unix.RT_TABLE_MAIN || r.Type != unix.RTN_UNICAST {
		return
	}
	isOurs := r.Protocol == unix.RTPROT_DHCP
	isNew := m.Header.Type == unix.RTM_NEWROUTE
	if isOurs && !isNew || !isOurs && isNew && m.Header.Flags&unix.NLM_F_REPLACE != 0 {
		for _, w := range d.workers {
			signal(w.disturbed)
		}
	}
}
