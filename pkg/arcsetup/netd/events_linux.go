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
	socket, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV4_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("subscribe to links, addresses and routes: %w", err)
	}
	news := make(chan []syscall.NetlinkMessage)
	d.spawn("subscription", func() {
		defer socket.Close()
		defer context.AfterFunc(ctx, socket.Close)()
		for {
			messages, from, err := socket.Receive()
			switch {
			case errors.Is(err, unix.ENOBUFS):
				messages = nil
			case err != nil:
				d.fail(fmt.Errorf("subscription to links, addresses and routes: %w", err))
				return
			case from.Pid != nl.PidKernel:
				continue // anybody may send
			}
			select {
			case news <- messages:
			case <-ctx.Done():
				return
			}
		}
	})
	return news, nil
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
