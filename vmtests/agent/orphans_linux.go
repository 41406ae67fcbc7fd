package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"
	"unsafe"

	"github.com/arcinit/arcinit/vmtests/probe"
	"golang.org/x/sys/unix"
)

// Orphans makes n orphans as fast as the kernel can, and returns when the last
// of them has ended. The making is a program of its own, which is small: to fork
// is to copy page tables.
func (g *Guest) Orphans(n int, reply *probe.Orphans) error {
	out, err := exec.Command("/proc/self/exe", "orphans", strconv.Itoa(n)).Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return fmt.Errorf("make %d orphans: %w: %s", n, err, exit.Stderr)
	}
	if err != nil {
		return fmt.Errorf("make %d orphans: %w", n, err)
	}
	ns, err := strconv.ParseInt(string(out), 10, 64)
	*reply = probe.Orphans{Made: n, Took: time.Duration(ns)}
	return err
}

// orphans is the program that makes them. It prints how long it took, in
// nanoseconds.
func orphans(number string) error {
	n, err := strconv.Atoi(number)
	if err != nil {
		return err
	}
	took, err := makeOrphans(n)
	if err == nil {
		_, err = fmt.Print(took.Nanoseconds())
	}
	return err
}

// makeOrphans starts a chain of processes: each forks the next and ends, so that
// all but the first of n+1 lose their parent. All of them have the writing end of
// a pipe, whose end is thus the end of the last one.
func makeOrphans(n int) (time.Duration, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer r.Close() //nolint:errcheck // only read from
	start := time.Now()
	pid, errno := forkChain(n, w.Fd())
	_ = w.Close()
	if errno != 0 {
		return 0, os.NewSyscallError("clone", errno)
	}
	report, err := io.ReadAll(r)
	took := time.Since(start)
	if _, e := unix.Wait4(pid, nil, 0, nil); err == nil {
		err = e
	}
	switch {
	case err != nil:
		return 0, err
	case len(report) != 1:
		return 0, fmt.Errorf("the chain broke off: % x", report)
	case report[0] != 0:
		return 0, os.NewSyscallError("clone in the chain", syscall.Errno(report[0]))
	}
	return took, nil
}

// forkChain forks once, and in the child, which returns from nothing, goes on
// doing so n times. A forked child has one thread of a runtime that counts on
// several: it must not be entered, be it to grow the stack. So nothing here
// allocates, and all calls are raw ones. Into the pipe w goes a byte: zero of the
// last child, or the error number of one that cannot fork.
//
//go:nosplit
//go:norace
func forkChain(n int, w uintptr) (pid int, err syscall.Errno) {
	var report [1]byte
	child, _, errno := syscall.RawSyscall6(syscall.SYS_CLONE, uintptr(syscall.SIGCHLD), 0, 0, 0, 0, 0)
	if child != 0 || errno != 0 {
		return int(child), errno
	}
	for ; n > 0; n-- {
		child, _, errno = syscall.RawSyscall6(syscall.SYS_CLONE, uintptr(syscall.SIGCHLD), 0, 0, 0, 0, 0)
		if child != 0 || errno != 0 {
			break
		}
	}
	if n == 0 || errno != 0 {
		report[0] = byte(errno)
		_, _, _ = syscall.RawSyscall(syscall.SYS_WRITE, w, uintptr(unsafe.Pointer(&report[0])), 1)
	}
	for {
		_, _, _ = syscall.RawSyscall(syscall.SYS_EXIT_GROUP, 0, 0, 0)
	}
}
