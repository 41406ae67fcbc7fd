package process

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/arcinit/arcinit/internal/guarded"
	"golang.org/x/sys/unix"
)

// OwnerAddress is the abstract socket (unix(7)) that the system's arcinit holds.
// It needs no file system, and the kernel closes it when the process ends.
const OwnerAddress = "@arcinit"

// Claim makes this process the owner of the system for as long as it lives, unless the system has an owner. It returns the owner's process id.
func Claim(address string, log *slog.Logger, after func(time.Duration) <-chan time.Time) (owner int, err error) {
	socket, err := net.ListenUnix("unix", &net.UnixAddr{Name: address, Net: "unix"})
	if errors.Is(err, unix.EADDRINUSE) {
		return Owner(address) // this process itself, after a panic in its main goroutine
	}
	if err != nil {
		return 0, fmt.Errorf("claim the system: %w", err)
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
	return os.Getpid(), nil
}

// Owner returns the process id of the system's arcinit, which holds the address.
func Owner(address string) (pid int, err error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("owner socket: %w", err)
	}
	defer unix.Close(fd) //nolint:errcheck // nothing was written to it
	// Where others keep the socket's queue full, connecting waits for its turn.
	_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &unix.Timeval{Sec: 10})
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: address}); err != nil {
		return 0, fmt.Errorf("no arcinit is running: %w", err)
	}
	peer, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return 0, fmt.Errorf("find the owner of the system: %w", err)
	}
	// While no arcinit runs, a container on this network could hold the address. It has process ids of its own,
	// which follow ours in this line (proc_pid_status(5)).
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", peer.Pid))
	if int(peer.Uid) != os.Geteuid() || !bytes.Contains(status, fmt.Appendf(nil, "\nNSpid:\t%d\n", peer.Pid)) {
		return 0, fmt.Errorf("no arcinit is running: process %d of user %d holds its socket", peer.Pid, peer.Uid)
	}
	return int(peer.Pid), nil
}
