// Package kernelfile reads and writes the kernel's values in /proc and /sys, by three system calls each. Package os
// would also ask whether the file can be polled. Package kernelfile must not know what the values are for.
package kernelfile

import (
	"io/fs"
	"strings"

	"golang.org/x/sys/unix"
)

// Read returns the value in a file, without the white space around it.
func Read(path string) (value string, err error) {
	err = use("read", path, unix.O_RDONLY, func(fd int) error {
		for buf := make([]byte, 1<<10); ; {
			n, err := unix.Read(fd, buf)
			value += string(buf[:max(n, 0)])
			if n < len(buf) { // all of such a file, because the kernel makes its text in one piece
				return err
			}
		}
	})
	return strings.TrimSpace(value), err
}

// Write writes a value to an existing file.
func Write(path, value string) error {
	return use("write", path, unix.O_WRONLY|unix.O_TRUNC, func(fd int) error {
		_, err := unix.Write(fd, []byte(value))
		return err
	})
}

// use opens a file for f.
func use(op, path string, flags int, f func(fd int) error) error {
	fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0)
	if err == nil {
		err = f(fd)
		_ = unix.Close(fd)
	}
	if err != nil {
		return &fs.PathError{Op: op, Path: path, Err: err}
	}
	return nil
}
