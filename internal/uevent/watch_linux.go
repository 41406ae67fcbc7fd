package uevent

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// fromKernel is the group that the kernel sends to; udev has another one
// (lib/kobject_uevent.c).
const fromKernel = 1

// maxMessage is more than a message has: its variables are at most 2048 bytes
// (UEVENT_BUFFER_SIZE in linux/kobject.h), before them is the device's path.
const maxMessage = 8 << 10

// Watch calls scan, which is to look at the devices that are there, and from then
// on each with every event. The kernel is listened to before scan looks, so that
// no device is missed; one may be seen twice. Where events came faster than they
// were read and some are lost, scan is called again.
//
// It returns nil when ctx ends, else why the kernel cannot be listened to.
func Watch(ctx context.Context, scan func(), each func(Event)) error {
	for {
		err := watch(ctx, scan, each)
		if ctx.Err() != nil {
			return nil
		}
		// The kernel does not say so again until all that it kept has been read
		// (netlink(7)): what comes from now on comes to another socket.
		if !errors.Is(err, unix.ENOBUFS) {
			return err
		}
	}
}

// watch is Watch until some events are lost.
func watch(ctx context.Context, scan func(), each func(Event)) error {
	s, err := listen()
	if err != nil {
		return err
	}
	defer s.close()
	// This ends a read that is waiting.
	defer context.AfterFunc(ctx, s.close)()
	scan()
	buf := make([]byte, maxMessage)
	for {
		e, err := s.next(buf)
		if err != nil {
			return err
		}
		each(e)
	}
}

// socket is a netlink socket in the hands of Go's poller: waiting for it takes no
// thread, and ends when it is closed.
type socket struct{ file *os.File }

func listen() (socket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		return socket{}, fmt.Errorf("socket for events of devices: %w", err)
	}
	file := os.NewFile(uintptr(fd), "uevent")
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: fromKernel}); err != nil {
		_ = file.Close()
		return socket{}, fmt.Errorf("listen to events of devices: %w", err)
	}
	return socket{file}, nil
}

func (s socket) close() { _ = s.file.Close() }

// next waits for an event. What does not come from the kernel, or is not an
// event, is passed over.
func (s socket) next(buf []byte) (Event, error) {
	raw, err := s.file.SyscallConn()
	if err != nil {
		return Event{}, fmt.Errorf("events of devices: %w", err)
	}
	for {
		var n int
		var from unix.Sockaddr
		var errRecv error
		err := raw.Read(func(fd uintptr) (done bool) {
			// With MSG_TRUNC, n is the length of the message even
			// where it is more than the buffer has.
			n, from, errRecv = unix.Recvfrom(int(fd), buf, unix.MSG_TRUNC)
			return !errors.Is(errRecv, unix.EAGAIN)
		})
		if errors.Is(errRecv, unix.EINTR) {
			continue
		}
		if err := errors.Join(err, errRecv); err != nil {
			return Event{}, fmt.Errorf("read events of devices: %w", err)
		}
		// The kernel's port id is 0; nobody else can have that.
		if sender, ok := from.(*unix.SockaddrNetlink); !ok || sender.Pid != 0 || n > len(buf) {
			continue
		}
		if e, err := parse(buf[:n]); err == nil {
			return e, nil
		}
	}
}
