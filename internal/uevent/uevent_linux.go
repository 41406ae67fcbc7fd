// Package uevent listens to the kernel's events about devices that come and go. It must not know what its callers do about them.
package uevent

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/mdlayher/socket"
	"golang.org/x/sys/unix"
)

// Event is an event about one device.
type Event struct {
	Action    string // add, remove, change, bind, ...
	DevPath   string // the device's path below /sys, with a leading slash
	Subsystem string // empty if the device has none
	ModAlias  string // the alias of the module that is its driver; may be empty
}

// fromKernel is the multicast group of the kernel's own messages; udev sends to another (lib/kobject_uevent.c).
const fromKernel = 1

// maxMessage is longer than any message, in bytes: a path, and 2048 bytes of variables (UEVENT_BUFFER_SIZE in linux/kobject.h).
const maxMessage = 8 << 10

// Watch calls scan, which looks at the devices that are there, and from then on calls each for every event. It
// subscribes before scan looks: it misses no device, but may report one twice. If events came faster than each handled
// them, some are lost, and it calls scan again. Watch returns nil when ctx ends, or the reason why it cannot listen.
func Watch(ctx context.Context, scan func(), each func(Event)) error {
	for {
		err := watch(ctx, scan, each)
		if ctx.Err() != nil {
			return nil
		}
		// The kernel reports a loss only once until everything queued has been read (netlink(7)). A new socket has an empty queue.
		if !errors.Is(err, unix.ENOBUFS) {
			return fmt.Errorf("listen to device events: %w", err)
		}
	}
}

// watch is Watch until events are lost.
func watch(ctx context.Context, scan func(), each func(Event)) error {
	// A socket in Go's poller: waiting for it takes no thread.
	conn, err := socket.Socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_KOBJECT_UEVENT, "uevent", nil)
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // only read from
	if err := conn.Bind(&unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: fromKernel}); err != nil {
		return err
	}
	// Closing ends the wait for a message.
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	scan()
	buf := make([]byte, maxMessage)
	for {
		// With MSG_TRUNC, n is the whole length of a message that is too long for buf.
		n, from, err := conn.Recvfrom(context.Background(), buf, unix.MSG_TRUNC)
		if err != nil {
			return err
		}
		// Port 0 is the kernel's; no process can have it.
		if sender, ok := from.(*unix.SockaddrNetlink); !ok || sender.Pid != 0 || n > len(buf) {
			continue
		}
		if e, ok := parse(buf[:n]); ok {
			each(e)
		}
	}
}

// parse reads a message of the kernel: ACTION@DEVPATH and variables NAME=value, each
// with a zero byte at its end (lib/kobject_uevent.c). Others are not ok.
func parse(message []byte) (e Event, ok bool) {
	header, variables, _ := strings.Cut(string(message), "\x00")
	action, path, ok := strings.Cut(header, "@")
	if !ok || action == "" || !strings.HasPrefix(path, "/") {
		return Event{}, false
	}
	e = Event{Action: action, DevPath: path}
	for v := range strings.SplitSeq(variables, "\x00") {
		switch name, value, _ := strings.Cut(v, "="); name {
		case "SUBSYSTEM":
			e.Subsystem = value
		case "MODALIAS":
			e.ModAlias = value
		}
	}
	return e, true
}
