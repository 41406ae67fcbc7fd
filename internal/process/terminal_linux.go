package process

import (
	"os"

	"golang.org/x/sys/unix"
)

// OpenTerminal opens a terminal, or another device, without making it this process's controlling
// terminal. It turns off the terminal's flow control (IXON, termios(3)): an XOFF, which may be noise on
// a serial line, would stop all that is written to the terminal.
func OpenTerminal(path string, flag int) (*os.File, error) {
	f, err := os.OpenFile(path, flag|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	if settings, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS); err == nil && settings.Iflag&unix.IXON != 0 {
		settings.Iflag &^= unix.IXON
		_ = unix.IoctlSetTermios(int(f.Fd()), unix.TCSETS, settings) // it works as before without
	}
	return f, nil
}
