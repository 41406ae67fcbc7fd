package process

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ignored is the address of a signal handler that only returns (signals_linux.s).
var ignored uintptr

// Ignore gives signals that Go does not catch a handler that does nothing. Without a handler, a signal ends even an
// init if it arrives while the main thread blocks signals (complete_signal, kernel/signal.c). A program that this
// process starts does not inherit the handler, as it would SIG_IGN. Of signals that exist, the kernel refuses none.
func Ignore(signals ...syscall.Signal) {
	// The flags and the mask are those of a signal that Go catches. It has eight bytes of mask.
	var action [4]uintptr // struct sigaction begins with the handler
	_, _, _ = unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(syscall.SIGCHLD), 0, uintptr(unsafe.Pointer(&action)), 8, 0, 0)
	action[0] = ignored
	for _, signal := range signals {
		_, _, _ = unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(signal), uintptr(unsafe.Pointer(&action)), 0, 8, 0, 0)
	}
}
