package filelock

import (
	"errors"

	"golang.org/x/sys/unix"
)

// Wait waits until no other open file has the lock on the file that fd is open on,
// and takes it, whatever signals come meanwhile. The lock ends with the last
// descriptor of that open file (flock(2)).
func Wait(fd int) error {
	for {
		err := unix.Flock(fd, unix.LOCK_EX)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
