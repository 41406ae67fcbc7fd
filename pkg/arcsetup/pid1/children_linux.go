package pid1

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Children starts processes and waits for them. Its Reap is the one place that
// waits: wait4 for any child would otherwise take exit codes from under whoever
// waits for one, os/exec included.
type Children struct {
	mu    sync.Mutex
	exits map[int]chan<- syscall.WaitStatus
}

// Command is a program to start.
type Command struct {
	Path string
	Args []string // with the program's name first
	Env  []string
	Dir  string
	// Output is the device that standard output and error go to.
	Output string
	// Terminal makes Output standard input too, and the controlling terminal.
	Terminal bool
}

// Start starts a program as the leader of a session of its own. How it ends is
// sent on exit.
func (c *Children) Start(cmd Command) (pid int, exit <-chan syscall.WaitStatus, err error) {
	fail := func(err error) (int, <-chan syscall.WaitStatus, error) {
		return 0, nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	out, err := os.OpenFile(cmd.Output, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil && !cmd.Terminal { // a kernel without a console
		out, err = os.OpenFile(os.DevNull, os.O_RDWR, 0)
	}
	if err != nil {
		return fail(err)
	}
	defer out.Close() //nolint:errcheck // the child has its own
	in := out
	if !cmd.Terminal {
		in, err = os.Open(os.DevNull)
		if err != nil {
			return fail(err)
		}
		defer in.Close() //nolint:errcheck // the child has its own
	}

	// Held until the process is known, lest Reap finds it ended before that.
	c.mu.Lock()
	defer c.mu.Unlock()
	pid, err = syscall.ForkExec(cmd.Path, cmd.Args, &syscall.ProcAttr{
		Dir: cmd.Dir, Env: cmd.Env,
		Files: []uintptr{in.Fd(), out.Fd(), out.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true, Setctty: cmd.Terminal},
	})
	if err != nil {
		return fail(err)
	}
	// It is no more precious than others, whatever this process is. Only an
	// end that came before this keeps it from being written.
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid), []byte("0"), 0)
	ended := make(chan syscall.WaitStatus, 1)
	if c.exits == nil {
		c.exits = map[int]chan<- syscall.WaitStatus{}
	}
	c.exits[pid] = ended
	return pid, ended, nil
}

// Reap waits for all children that have ended, own and orphaned. It is to be
// called after every SIGCHLD; one signal can stand for many.
func (c *Children) Reap() {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil || pid == 0 {
			return // ECHILD: there are no children; 0: none has ended
		}
		c.mu.Lock()
		if ended, ok := c.exits[pid]; ok {
			ended <- status
			delete(c.exits, pid)
		}
		c.mu.Unlock()
	}
}

// describe says how a process ended.
func describe(status syscall.WaitStatus) string {
	if status.Signaled() {
		return "signal " + unix.SignalName(status.Signal())
	}
	return fmt.Sprintf("code %d", status.ExitStatus())
}
