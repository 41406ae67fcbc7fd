package notify

import (
	"errors"
	"fmt"
	"io"
	"net"
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
	dialer := net.Dialer{Deadline: deadline}
	conn, err := dialer.Dial("unixgram", path)
	isStream := errors.Is(err, unix.EPROTOTYPE) // the socket is not one for datagrams
	if isStream {
		conn, err = dialer.Dial("unix", path)
	}
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // its errors are those of the write
	if err := conn.SetDeadline(deadline); err != nil {
		return err
	}
	if _, err := conn.Write(message); err != nil || !isStream {
		return err
	}
	return finish(conn, conn.(*net.UnixConn).CloseWrite)
}

// stream is a connection of which one side can be closed.
type stream interface {
	io.Reader
	SetDeadline(time.Time) error
}

// finish ends the message of a stream and waits for the host to close its side.
// A host that refuses to read what is left has not been told.
func finish(s stream, closeWrite func() error) error {
	if err := closeWrite(); err != nil {
		return err
	}
	if err := s.SetDeadline(time.Now().Add(closeTime)); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, s); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	return nil
}

// lastReservedPort is the highest port that only the privileged can send from
// (LAST_RESERVED_PORT, net/vmw_vsock/af_vsock.c). From one of those systemd
// sends too: so the host can tell PID 1 from any program in the guest.
const lastReservedPort = 1023

func sendVsock(a Address, message []byte, deadline time.Time) error {
	fd, err := unix.Socket(unix.AF_VSOCK, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	f := os.NewFile(uintptr(fd), "vsock")
	defer f.Close() //nolint:errcheck // its errors are those of the write
	for port := uint32(lastReservedPort); ; port-- {
		err := unix.Bind(fd, &unix.SockaddrVM{CID: unix.VMADDR_CID_ANY, Port: port})
		if err == nil {
			break
		}
		if !errors.Is(err, unix.EADDRINUSE) || port == 1 {
			return os.NewSyscallError("bind", err)
		}
	}
	if err := f.SetDeadline(deadline); err != nil {
		return err
	}
	if err := connect(f, &unix.SockaddrVM{CID: a.cid, Port: a.port}); err != nil {
		return err
	}
	if _, err := f.Write(message); err != nil {
		return err
	}
	return finish(f, func() error { return os.NewSyscallError("shutdown", unix.Shutdown(fd, unix.SHUT_WR)) })
}

// connect connects a socket that does not block, within the file's deadline.
func connect(f *os.File, to unix.Sockaddr) error {
	raw, err := f.SyscallConn()
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
		errno, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
		if err == nil && errno != 0 {
			err = unix.Errno(errno)
		}
		if failed = err; failed != nil {
			return true
		}
		// Woken for nothing, it waits on.
		_, err = unix.Getpeername(int(fd))
		return err == nil
	})
	return errors.Join(err, os.NewSyscallError("connect", failed))
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
