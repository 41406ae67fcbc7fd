package process

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Reaper starts processes and waits for them. Its Reap is the one place that
// waits: wait4 for any child would otherwise take exit codes from under whoever
// waits for one, os/exec included.
type Reaper struct {
	mu    sync.Mutex
	exits map[int]chan<- syscall.WaitStatus

	// While a program is being started, which takes as long as its file
	// system does, ends of unknown children are kept: one may be its own.
	starting int
	unknown  map[int]syscall.WaitStatus
	// score is what this process's own oom_score_adj will be after that.
	score     []byte
	scoreFile string // of tests; else ownScore

	reap chan struct{} // has something in it when a child has been waited for
}

// Command is a program to start.
type Command struct {
	Path string
	Args []string // with the program's name first
	Env  []string
	Dir  string
	// Terminal is the device to be controlling terminal and all standard
	// streams; without one, standard input is empty.
	Terminal string
}

// Start starts a program as the leader of a session of its own. out, if any, is
// its standard output and error where it has no terminal. How it ends is sent on
// exit.
func (r *Reaper) Start(cmd Command, out *os.File) (pid int, exit <-chan syscall.WaitStatus, err error) {
	in := os.DevNull
	if cmd.Terminal != "" {
		in = cmd.Terminal
	}
	stdin, err := os.OpenFile(in, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return 0, nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	defer stdin.Close() //nolint:errcheck // the child has its own
	if err := awaitFile(cmd.Path); err != nil {
		return 0, nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	if cmd.Terminal != "" || out == nil {
		out = stdin
	}

	r.begin()
	pid, err = syscall.ForkExec(cmd.Path, cmd.Args, &syscall.ProcAttr{
		Dir: cmd.Dir, Env: cmd.Env,
		Files: []uintptr{stdin.Fd(), out.Fd(), out.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true, Setctty: cmd.Terminal != ""},
	})
	ended := r.started(pid, err)
	if err != nil {
		return 0, nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	return pid, ended, nil
}

const (
	ownScore = "/proc/self/oom_score_adj"
	// protectedScore is as far as a process can be from the out-of-memory killer
	// without being exempt from it, and from the kernel's panic when all are
	// (Documentation/filesystems/proc.rst, oom_score_adj).
	protectedScore = "-999"
)

func (r *Reaper) file() string { return cmp.Or(r.scoreFile, ownScore) }

// awaitFile waits until the file system that has a program answers: a share whose
// host is gone makes everybody wait. Here that is the caller alone, but in ForkExec
// it would be this whole process. Until the program is being executed the child is
// on the parent's memory (CLONE_VFORK, clone(2)), and the Go runtime stands still
// with it, at the latest when it collects garbage.
func awaitFile(path string) error {
	for {
		// A pipe, which is no program, is not to be waited for.
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if errors.Is(err, unix.EACCES) {
			return nil // it may be one that can be executed but not read
		}
		if err != nil {
			return err
		}
		return unix.Close(fd)
	}
}

// Protect keeps this process from the out-of-memory killer. What it starts is
// given the usual score.
func (r *Reaper) Protect() (changed bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.starting > 0 {
		changed = string(r.score) != protectedScore
		r.score = []byte(protectedScore)
		return changed, nil
	}
	score, err := os.ReadFile(r.file())
	if err != nil || string(bytes.TrimSpace(score)) == protectedScore {
		return false, err
	}
	return true, os.WriteFile(r.file(), []byte(protectedScore), 0)
}

// begin prepares for a child: one is no more precious to the out-of-memory
// killer than others, whatever this process is, and inherits that at birth.
// PID 1 risks nothing by being like it for that long: the kernel spares it in
// any case (oom_unkillable_task, mm/oom_kill.c).
func (r *Reaper) begin() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.starting++
	if r.starting == 1 {
		score, _ := os.ReadFile(r.file())
		r.score = bytes.TrimSpace(score)
		_ = os.WriteFile(r.file(), []byte("0"), 0)
	}
}

// started registers the child, if err is nil, and sends its end if it has ended
// already.
func (r *Reaper) started(pid int, err error) <-chan syscall.WaitStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	ended := make(chan syscall.WaitStatus, 1)
	if err == nil {
		if status, ok := r.unknown[pid]; ok {
			ended <- status
			delete(r.unknown, pid)
		} else {
			if r.exits == nil {
				r.exits = map[int]chan<- syscall.WaitStatus{}
			}
			r.exits[pid] = ended
		}
	}
	r.starting--
	if r.starting == 0 {
		r.unknown = nil
		_ = os.WriteFile(r.file(), r.score, 0)
	}
	return ended
}

// Reap waits for all children that have ended, own and orphaned, and reports
// whether there are others. It is to be called after every SIGCHLD; one signal
// can stand for many.
func (r *Reaper) Reap() (others bool) {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil {
			return false // ECHILD
		}
		if pid == 0 {
			return true
		}
		r.ended(pid, status)
	}
}

// reaped can be received from when children have been waited for since.
func (r *Reaper) reaped() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.reap == nil {
		r.reap = make(chan struct{}, 1)
	}
	return r.reap
}

func (r *Reaper) ended(pid int, status syscall.WaitStatus) {
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case r.reap <- struct{}{}:
	default: // nobody waits, or that is known
	}
	if ended, ok := r.exits[pid]; ok {
		ended <- status
		delete(r.exits, pid)
		return
	}
	if r.starting > 0 {
		if r.unknown == nil {
			r.unknown = map[int]syscall.WaitStatus{}
		}
		r.unknown[pid] = status
	}
}

// describe says how a process ended.
func describe(status syscall.WaitStatus) string {
	if status.Signaled() {
		return "signal " + unix.SignalName(status.Signal())
	}
	return fmt.Sprintf("code %d", status.ExitStatus())
}
