package main

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"github.com/arcinit/arcinit/vmtests/probe"
	"golang.org/x/sys/unix"
)

// Orphans makes n orphans as fast as the kernel can, and returns when the last orphan
// has ended. A separate program makes them, so that they share nothing with the agent.
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

// orphans is the program that makes orphans. It prints how long that took, in
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

// makeOrphans starts a chain of n+1 processes. Each forks the next and ends, so that all
// but the first lose their parent. All inherit the write end of a pipe, so a reader sees
// the end of the pipe when the last process has ended.
func makeOrphans(n int) (time.Duration, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer r.Close() //nolint:errcheck // only read from
	const end = 'e'
	mark := byte(end)
	start := time.Now()
	// A process of the chain gets SIGCHLD for the next one. Go's handler must not run
	// on the stack that all of them share.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var all, before unix.Sigset_t
	for i := range all.Val {
		all.Val[i] = math.MaxUint64
	}
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, &all, &before); err != nil {
		return 0, fmt.Errorf("block signals: %w", err)
	}
	pid := forkChain(n, w.Fd(), &mark)
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &before, nil); err != nil {
		return 0, fmt.Errorf("unblock signals: %w", err)
	}
	_ = w.Close()
	if pid < 0 {
		return 0, os.NewSyscallError("clone", syscall.Errno(-pid))
	}
	report, err := io.ReadAll(r)
	took := time.Since(start)
	runtime.KeepAlive(&mark)
	if _, e := unix.Wait4(pid, nil, 0, nil); err == nil {
		err = e
	}
	if err == nil && string(report) != string(end) {
		err = errors.New("a process of the chain could not fork")
	}
	return took, err
}

// forkChain clones a process that clones the next and ends, and so on, n times
// after the first. The last process writes the byte end to the file w. forkChain
// returns the process ID of the first process, or a negative error number.
//
// It is assembly because a child must not enter Go's runtime. The processes share all
// memory and touch none of it, since copying a Go program's page tables is most of the
// cost of a fork.
//
//go:noescape
func forkChain(n int, w uintptr, end *byte) (result int)
