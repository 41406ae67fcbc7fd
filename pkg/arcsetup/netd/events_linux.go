package netd

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// subscribe has what the kernel says of links, IPv4 addresses and IPv4 routes come
// on a channel until ctx ends. Nil stands for messages that were lost, as too many
// came at once. One socket keeps them in order, and one goroutine idle.
func (d *daemon) subscribe(ctx context.Context) (<-chan []syscall.NetlinkMessage, error) {
	socket, err := openSubscription()
	if err != nil {
		return nil, err
	}
	news := make(chan []syscall.NetlinkMessage)
	d.spawn("subscription", func() {
		for {
			err := forward(ctx, socket, news)
			if errors.Is(err, unix.ENOBUFS) {
				// The kernel does not say so again until all that it kept has
				// been read: what comes from now on comes to another socket.
				if socket, err = openSubscription(); err == nil {
					select {
					case news <- nil:
					case <-ctx.Done():
					}
					continue
				}
			}
			d.fail(fmt.Errorf("messages of links, addresses and routes: %w", err))
			return
		}
	})
	return news, nil
}

func openSubscription() (*nl.NetlinkSocket, error) {
	socket, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV4_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("subscribe to links, addresses and routes: %w", err)
	}
	return socket, nil
}

// forward passes the messages that come to socket on, until it fails or ctx ends,
// and closes it.
func forward(ctx context.Context, socket *nl.NetlinkSocket, news chan<- []syscall.NetlinkMessage) error {
	defer socket.Close()
	defer context.AfterFunc(ctx, socket.Close)()
	for {
		messages, from, err := socket.Receive()
		if err != nil {
			return err
		}
		if from.Pid != nl.PidKernel {
			continue // anybody may send
		}
		select {
		case news <- messages:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// isDisturbing reports whether a message is about a route that somebody has taken
// from us, or about a rival of our default route. What is said of routes by DHCP
// that are added is what we did ourselves.
func isDisturbing(m syscall.NetlinkMessage) bool {
	r := nl.DeserializeRtMsg(m.Data)
	switch {
	case r.Table != unix.RT_TABLE_MAIN || r.Type != unix.RTN_UNICAST:
		return false
	case m.Header.Type == unix.RTM_DELROUTE:
		return r.Protocol == unix.RTPROT_DHCP
	}
	return r.Protocol != unix.RTPROT_DHCP && (r.Dst_len == 0 || m.Header.Flags&unix.NLM_F_REPLACE != 0)
}
