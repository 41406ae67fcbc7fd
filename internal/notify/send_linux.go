package notify

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// closeTime is how long a host may take to read a stream to its end. It has been
// told in any case; but a guest that powers off at once may take the message
// with it.
const closeTime = 500 * time.Millisecond

// send makes one attempt to send a message to a, which ends within about the
// time given.
func send(a Address, message []byte, within time.Duration) error {
	deadline := time.Now().Add(within)
	var err error
	switch a.network {
	case networkVsock:
		err = sendVsock(a, message, deadline)
	case networkUnix:
		err = sendUnix(a.name, message, deadline)
	case networkVirtioPort:
		err = sendPort("/", a.name, message, deadline)
	default:
		err = errors.ErrUnsupported
	}
	if err != nil {
		return fmt.Errorf("send to %s: %w", a, err)
	}
	return nil
}

func sendUnix(path string, message []byte, deadline time.Time) error {
	to := &unix.SockaddrUnix{Name: path}
	s, err := newSocket(unix.AF_UNIX, unix.SOCK_DGRAM, deadline)
	if err != nil {
		return err
	}
	defer s.Close() //nolint:errcheck // its errors are those of the write
	err = s.connect(to)
	if errors.Is(err, unix.EPROTOTYPE) { // the socket is not one for datagrams
		stream, err := newSocket(unix.AF_UNIX, unix.SOCK_STREAM, deadline)
		if err != nil {
			return err
		}
		defer stream.Close() //nolint:errcheck // its errors are those of the write
		return stream.tell(to, message)
	}
	if err == nil {
		_, err = s.Write(message)
	}
	return err
}

// lastReservedPort is the highest port that only the privileged can send from
// (LAST_RESERVED_PORT, net/vmw_vsock/af_vsock.c). From one of those systemd
// sends too: so the host can tell PID 1 from any program in the guest.
const lastReservedPort = 1023

func sendVsock(a Address, message []byte, deadline time.Time) error {
	s, err := newSocket(unix.AF_VSOCK, unix.SOCK_STREAM, deadline)
	if err != nil {
		return err
	}
	defer s.Close() //nolint:errcheck // its errors are those of the write
	for port := uint32(lastReservedPort); ; port-- {
		err := unix.Bind(s.fd, &unix.SockaddrVM{CID: unix.VMADDR_CID_ANY, Port: port})
		if err == nil {
			break
		}
		if !errors.Is(err, unix.EADDRINUSE) || port == 1 {
			return os.NewSyscallError("bind", err)
		}
	}
	return s.tell(&unix.SockaddrVM{CID: a.cid, Port: a.port}, message)
}

// socket is a socket that does not block; what it does ends at its deadline.
// Package net's dialers would do for unix sockets, and bring a resolver along.
type socket struct {
	*os.File
	fd int
}

func newSocket(domain, kind int, deadline time.Time) (socket, error) {
	fd, err := unix.Socket(domain, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return socket{}, os.NewSyscallError("socket", err)
	}
	s := socket{os.NewFile(uintptr(fd), "socket"), fd}
	if err := s.SetDeadline(deadline); err != nil {
		return socket{}, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s socket) connect(to unix.Sockaddr) error {
	raw, err := s.SyscallConn()
	if err != nil {
		return err
	}
	started := false
	var failed error
	err = raw.Write(func(fd uintptr) (done bool) {
		if !started {
			started = true
			failed = unix.Connect(int(fd), to)
			return !errors.Is(failed, unix.EINPROGRESS)
		}
		var errno int
		errno, failed = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
		if errno != 0 {
			failed = unix.Errno(errno)
		}
		if failed != nil {
			return true
		}
		// Woken for nothing, it waits on.
		_, e := unix.Getpeername(int(fd))
		return e == nil
	})
	if err != nil { // the deadline, most likely
		return fmt.Errorf("connect: %w", err)
	}
	return os.NewSyscallError("connect", failed)
}

// tell sends a message as a stream of its own, and waits for the host to close
// its side. A host that refuses to read what is left has not been told.
func (s socket) tell(to unix.Sockaddr, message []byte) error {
	if err := s.connect(to); err != nil {
		return err
	}
	if _, err := s.Write(message); err != nil {
		return err
	}
	if err := unix.Shutdown(s.fd, unix.SHUT_WR); err != nil {
		return os.NewSyscallError("shutdown", err)
	}
	if err := s.SetDeadline(time.Now().Add(closeTime)); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, s); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	return nil
}

// sendPort writes to the virtio-serial port of that name. Sysfs says which device
// it is, since without udev there is no /dev/virtio-ports. The file does not
// block: a write to one that does spins in the kernel until the host has read.
func sendPort(root, name string, message []byte, deadline time.Time) error {
	files, err := filepath.Glob(filepath.Join(root, "sys/class/virtio-ports/*/name"))
	if err != nil {
		return err
	}
	for _, file := range files {
		if text, err := os.ReadFile(file); err != nil || strings.TrimSpace(string(text)) != name {
			continue
		}
		f, err := os.OpenFile(filepath.Join(root, "dev", filepath.Base(filepath.Dir(file))), os.O_WRONLY|unix.O_NONBLOCK, 0)
		if err != nil {
			return err
		}
		defer f.Close() //nolint:errcheck // its errors are those of the write
		if err := f.SetWriteDeadline(deadline); err != nil {
			return err
		}
		_, err = f.Write(message)
		return err
	}
	return fmt.Errorf("the guest has no such port: %w", os.ErrNotExist)
}
