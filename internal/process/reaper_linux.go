package process

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"

	"github.com/arcinit/arcinit/internal/binfmt"
	"golang.org/x/sys/unix"
)

// Reaper starts processes and reaps all that end, orphans too. Nothing else in this process may wait for children,
// os/exec included: Reap waits for any child, and would take the exit status from whoever waits for one.
type Reaper struct {
	scoreFile string // this process's oom_score_adj

	mu    sync.Mutex                        // held while a child starts, which may end at once
	exits map[int]chan<- syscall.WaitStatus // by process id
	// changed is closed and replaced when a child has ended.
	changed   chan struct{}
	protected bool // from the out-of-memory killer, but for while a child starts
}

// NewReaper returns a Reaper without children.
func NewReaper() *Reaper {
	return &Reaper{scoreFile: "/proc/self/oom_score_adj", exits: map[int]chan<- syscall.WaitStatus{}, changed: make(chan struct{})}
}

// Command is a program to start.
type Command struct {
	Path string
	Args []string // with the program's name first
	Env  []string
	Dir  string
	// Terminal is the device that becomes the controlling terminal and the
	// standard streams. Without one, standard input is empty.
	Terminal string
}

// Start starts a program as the leader of a new session. Without a terminal, out is its standard output
// and error; nil discards both. exit receives how the program ended.
func (r *Reaper) Start(cmd Command, out *os.File) (pid int, exit <-chan syscall.WaitStatus, err error) {
	stdin, err := OpenTerminal(cmp.Or(cmd.Terminal, os.DevNull), os.O_RDWR)
	if err != nil {
		return 0, nil, err
	}
	defer stdin.Close() //nolint:errcheck // the child has its own
	if cmd.Terminal != "" || out == nil {
		out = stdin
	}
	if err := awaitProgram(cmd.Path); err != nil {
		return 0, nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	// A child inherits the score. PID 1 needs no protection meanwhile, because the kernel never kills it
	// (oom_unkillable_task, mm/oom_kill.c).
	_ = r.setScore("0")
	pid, err = syscall.ForkExec(cmd.Path, cmd.Args, &syscall.ProcAttr{
		Dir: cmd.Dir, Env: cmd.Env,
		Files: []uintptr{stdin.Fd(), out.Fd(), out.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true, Setctty: cmd.Terminal != ""},
	})
	if r.protected {
		_ = r.setScore("-999")
	}
	if err != nil {
		return 0, nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	ended := make(chan syscall.WaitStatus, 1)
	r.exits[pid] = ended
	return pid, ended, nil
}

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

// maxInterpreters is how many scripts the kernel takes whose interpreter is a script (fs/exec.c).
const maxInterpreters = 5

// awaitProgram reads what exec will read of a program and its interpreter. A share whose host is gone blocks only
// the caller here. In ForkExec it would block the whole process: until exec the child shares the parent's memory
// (CLONE_VFORK, clone(2)), and the Go runtime waits for that at its next garbage collection. A host that goes
// between awaitProgram and exec, some microseconds later, still blocks this process: exec opens the files again.
func awaitProgram(path string) error {
	for i := range maxInterpreters {
		// O_NONBLOCK: opening a FIFO would wait for a writer.
		file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
		if err != nil {
			if i > 0 || errors.Is(err, unix.EACCES) {
				return nil // a program may be executable and not readable; exec says what else is wrong
			}
			return err
		}
		path, _ = binfmt.Interpreter(file)
		_ = file.Close()
		if path == "" {
			return nil
		}
	}
	return nil
}

// Protect protects this process, but not its children, from the out-of-memory killer: the kernel kills a process with
// the score -999 last, but rather than panic (oom_score_adj, Documentation/filesystems/proc.rst).
func (r *Reaper) Protect() (changed bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	changed = !r.protected
	r.protected = true
	return changed, r.setScore("-999")
}

func (r *Reaper) setScore(score string) error { return os.WriteFile(r.scoreFile, []byte(score), 0) }

// Reap reaps all children that have ended. The caller calls it after every SIGCHLD; one signal can stand for many ends.
func (r *Reaper) Reap() {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		if err != nil || pid == 0 { // no children (ECHILD), or none that has ended
			return
		}
		r.ended(pid, status)
	}
}

// reapAll reaps children until none is left.
func (r *Reaper) reapAll() {
	for err := error(nil); err == nil || errors.Is(err, unix.EINTR); {
		r.Reap()
		err = unix.Waitid(unix.P_ALL, 0, nil, unix.WEXITED|unix.WNOWAIT, nil) // leaves the ended child to Reap
	}
}

// Changed returns a channel that is closed when the next child, which may be an orphan, has ended.
func (r *Reaper) Changed() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.changed
}

func (r *Reaper) ended(pid int, status syscall.WaitStatus) {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.changed)
	r.changed = make(chan struct{})
	if exit, ok := r.exits[pid]; ok {
		exit <- status
		delete(r.exits, pid)
	}
}

// describe says how a process ended.
func describe(status syscall.WaitStatus) string {
	if status.Signaled() {
		return "signal " + unix.SignalName(status.Signal())
	}
	return fmt.Sprintf("code %d", status.ExitStatus())
}
