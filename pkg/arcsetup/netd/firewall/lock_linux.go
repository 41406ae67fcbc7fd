package firewall

import (
	"fmt"

	"github.com/arcinit/arcinit/internal/filelock"
	"golang.org/x/sys/unix"
)

// lock keeps other processes from applying rules until unlock is called, so that
// none lists a chain that another is about to change. It is on the network
// namespace, since that is what has the tables: no file need be made for it, and
// it goes with the process that holds it.
func lock() (unlock func(), err error) {
	const namespace = "/proc/thread-self/ns/net"
	fd, err := unix.Open(namespace, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", namespace, err)
	}
	if err := filelock.Wait(fd); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("lock %s: %w", namespace, err)
	}
	return func() { _ = unix.Close(fd) }, nil
}
