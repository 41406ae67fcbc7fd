package notify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/mdlayher/socket"
	"golang.org/x/sys/unix"
)

// closeTime is how long the host may take to read a stream to its end. The message is sent by then, but a guest that powers off could take it along.
const closeTime = 500 * time.Millisecond

// send makes one attempt to send a message, which takes little more than timeout.
func send(a Address, message []byte, timeout time.Duration) error {
	deadline := time.Now().Add(timeout)
	switch a.network {
	case "vsock":
		return sendSocket(unix.AF_VSOCK, unix.SOCK_STREAM, &unix.SockaddrVM{CID: a.cid, Port: a.port}, message, deadline)
	case "unix":
		to := &unix.SockaddrUnix{Name: a.name}
		err := sendSocket(unix.AF_UNIX, unix.SOCK_DGRAM, to, message, deadline)
		if errors.Is(err, unix.EPROTOTYPE) { // it is a stream socket
			err = sendSocket(unix.AF_UNIX, unix.SOCK_STREAM, to, message, deadline)
		}
		return err
	}
	return sendPort("/", a.name, message, deadline)
}

// sendSocket sends a message as a datagram, or as a stream of its own. It waits for the host to close a
// stream: a reset means that the host did not read all of the message.
func sendSocket(domain, kind int, to unix.Sockaddr, message []byte, deadline time.Time) error {
	// Package net's dialers would bring a resolver into the program.
	s, err := socket.Socket(domain, kind, 0, "notify", nil)
	if err != nil {
		return err
	}
	defer s.Close() //nolint:errcheck // the write's error is the one that matters
	err = s.SetDeadline(deadline)
	if err == nil && domain == unix.AF_VSOCK {
		err = bindReserved(s)
	}
	if err == nil {
		_, err = s.Connect(context.Background(), to)
	}
	if err == nil {
		_, err = s.Write(message)
	}
	if err != nil || kind == unix.SOCK_DGRAM {
		return err
	}
	if err := errors.Join(s.CloseWrite(), s.SetReadDeadline(time.Now().Add(closeTime))); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, s); !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	return nil
}

// lastReservedPort is the highest vsock port that only root can send from (LAST_RESERVED_PORT, net/vmw_vsock/af_vsock.c).
const lastReservedPort = 1023

// bindReserved binds to a reserved port, as systemd does: so the host knows that not just any program in the guest sent the message.
func bindReserved(s *socket.Conn) error {
	for port := uint32(lastReservedPort); ; port-- {
		err := s.Bind(&unix.SockaddrVM{CID: unix.VMADDR_CID_ANY, Port: port})
		if !errors.Is(err, unix.EADDRINUSE) || port == 1 {
			return err
		}
	}
}

// sendPort writes to the virtio-serial port of this name. Sysfs names its device; without udev there is no /dev/virtio-ports. The device is
// opened non-blocking, because a blocking write spins in the kernel until the host has read.
func sendPort(root, name string, message []byte, deadline time.Time) error {
	files, _ := filepath.Glob(filepath.Join(root, "sys/class/virtio-ports/*/name"))
	for _, file := range files {
		if text, err := os.ReadFile(file); err != nil || strings.TrimSpace(string(text)) != name {
			continue
		}
		f, err := os.OpenFile(filepath.Join(root, "dev", filepath.Base(filepath.Dir(file))), os.O_WRONLY|unix.O_NONBLOCK, 0)
		if err != nil {
			return err
		}
		defer f.Close() //nolint:errcheck // the write's error is the one that matters
		if err := f.SetWriteDeadline(deadline); err != nil {
			return err
		}
		_, err = f.Write(message)
		return err
	}
	return fmt.Errorf("virtio-serial port %s: %w", name, os.ErrNotExist)
}
