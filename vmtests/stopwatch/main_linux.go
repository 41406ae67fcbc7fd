// Command stopwatch is an agent that notes in the kernel log when it began and
// that two NICs have their addresses, and copies the log to the share. It is as
// small as can be, since it has one processor together with what is timed.
package main

import (
	"io"
	"os"
	"syscall"
)

// What it notes; the host reads the times in front of these in Log.
const (
	agent    = "stopwatch: agent"
	networks = "stopwatch: networks"
	log      = "/arcbox/kmsg"
)

func main() {
	note(agent)
	if err := await(2); err != nil {
		note("stopwatch: " + err.Error())
	}
	note(networks)
	if err := copyLog(); err != nil {
		note("stopwatch: " + err.Error())
	}
	_ = syscall.Kill(1, syscall.SIGUSR2)
	select {}
}

// note writes a whole line: one without an end could be continued, and is not read.
func note(text string) { _ = os.WriteFile("/dev/kmsg", []byte(text+"\n"), 0) }

// await returns when n addresses are there beside the loopback's.
func await(n int) error {
	const groupIPv4Address = 0x10 // RTMGRP_IPV4_IFADDR, linux/rtnetlink.h
	socket, err := syscall.Socket(syscall.AF_NETLINK, syscall.SOCK_RAW, syscall.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	if err := syscall.Bind(socket, &syscall.SockaddrNetlink{Family: syscall.AF_NETLINK, Groups: groupIPv4Address}); err != nil {
		return err
	}
	for {
		// One message an address, and one that ends the list.
		data, err := syscall.NetlinkRIB(syscall.RTM_GETADDR, syscall.AF_INET)
		if err != nil {
			return err
		}
		messages, err := syscall.ParseNetlinkMessage(data)
		if err != nil {
			return err
		}
		if len(messages) >= 1+n+1 {
			return nil
		}
		if _, _, err := syscall.Recvfrom(socket, make([]byte, 4096), 0); err != nil {
			return err
		}
	}
}

// copyLog copies the kernel log as it is so far: records "PRIORITY,SEQUENCE,
// MICROSECONDS,FLAGS;TEXT" (Documentation/ABI/testing/dev-kmsg).
func copyLog() error {
	device, err := syscall.Open("/dev/kmsg", syscall.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	file, err := os.Create(log)
	if err != nil {
		return err
	}
	record := make([]byte, 8192)
	for {
		n, err := syscall.Read(device, record)
		if err == syscall.EAGAIN || err == io.EOF {
			return file.Close()
		}
		if err != nil && err != syscall.EPIPE { // overwritten meanwhile
			return err
		}
		if _, err := file.Write(record[:max(n, 0)]); err != nil {
			return err
		}
	}
}
