package process

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/arcinit/arcinit/internal/guarded"
	"golang.org/x/sys/unix"
)

// ownerAddress is the abstract socket (unix(7)) that the system's arcinit holds.
// It needs no file system, and the kernel closes it when the process ends.
const ownerAddress = "@arcinit"

// Claim makes this process the owner of the system for as long as it lives. It
// returns false if another process is the owner.
func Claim(log *slog.Logger, after func(time.Duration) <-chan time.Time) (bool, error) {
	return claim(ownerAddress, log, after)
}

func claim(address string, log *slog.Logger, after func(time.Duration) <-chan time.Time) (bool, error) {
	socket, err := net.ListenUnix("unix", &net.UnixAddr{Name: address, Net: "unix"})
	if errors.Is(err, unix.EADDRINUSE) {
		owner, err := ownerOf(address)
		return owner == os.Getpid(), err // true after a panic in the owner's main goroutine
	}
	if err != nil {
		return false, fmt.Errorf("claim the system: %w", err)
	}
	// Processes connect to learn the owner's process id from the kernel.
	guarded.RestartOnPanic(log, "owner socket", after, func() {
		for {
			conn, err := socket.Accept()
			if err != nil {
				log.Error("cannot accept on the owner socket", "err", err)
				return
			}
			_ = conn.Close()
		}
	})
	return true, nil
}

// Owner returns the process id of the system's arcinit.
func Owner() (pid int, err error) { return ownerOf(ownerAddress) }

func ownerOf(address string) (pid int, err error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("owner socket: %w", err)
	}
	defer unix.Close(fd) //nolint:errcheck // nothing was written to it
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: address}); err != nil {
		return 0, fmt.Errorf("no arcinit is running: %w", err)
	}
	peer, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return 0, fmt.Errorf("find the owner of the system: %w", err)
	}
	return int(peer.Pid), nil
}
