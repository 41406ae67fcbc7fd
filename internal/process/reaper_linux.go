package process

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/arcinit/arcinit/internal/binfmt"
	"github.com/arcinit/arcinit/internal/guarded"
	"github.com/arcinit/arcinit/internal/kernelfile"
	"golang.org/x/sys/unix"
)

// Reaper starts processes and reaps all that end, orphans too. Nothing else in this process may wait for a child, not
// even os/exec: Reap waits for all children, so it would take the exit status away.
type Reaper struct {
	scoreFile string // this process's oom_score_adj

	mu        sync.Mutex                        // held while a child starts, which may end at once
	exits     map[int]chan<- syscall.WaitStatus // by process id
	changed   chan struct{}                     // closed and replaced when a child has ended
	protected bool                              // from the out-of-memory killer, but for while a child starts
	starts    chan func()                       // for the thread that starts programs
}

// NewReaper returns a Reaper without children. It must come before any file on a share is open.
func NewReaper(log *slog.Logger, after func(time.Duration) <-chan time.Time) *Reaper {
	r := &Reaper{
		scoreFile: "/proc/self/oom_score_adj", exits: map[int]chan<- syscall.WaitStatus{},
		changed: make(chan struct{}), starts: make(chan func()),
	}
	guarded.RestartOnPanic(log, "start of programs", after, func() { r.runStarts(log) })
	r.starts <- func() {} // the thread has its files
	return r
}

// runStarts calls the functions that start programs, on a thread that has files of its own. For exec closes the files
// that a child has inherited, and to close one on a share waits for the share's host. Until then this process stands
// still, because it shares its memory with the child (CLONE_VFORK, clone(2)).
func (r *Reaper) runStarts(log *slog.Logger) {
	runtime.LockOSThread() // for good
	if unix.Gettid() == os.Getpid() {
		guarded.Go(log, "start of programs", func() { r.runStarts(log) })
		select {} // on the main thread, whose files are those in /proc/self
	}
	_ = unix.Unshare(unix.CLONE_FILES) // fails only without memory
	for start := range r.starts {
		start()
	}
}

// Command is a program to start.
type Command struct {
	Path string
	Args []string // with the program's name first
	Env  []string
	Dir  string
	// Credential has the user and groups; nil for this process's.
	Credential *syscall.Credential
	// Terminal is the device that becomes the controlling terminal and the standard streams. Without one, standard input is empty.
	Terminal string
}

// Start starts a program as the leader of a new session. Without a terminal, out is its standard output
// and error; nil discards both. exit receives how the program ended.
func (r *Reaper) Start(cmd Command, out *os.File) (pid int, exit <-chan syscall.WaitStatus, err error) {
	if err := awaitProgram(cmd.Path); err != nil {
		return 0, nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	// A child inherits the score. PID 1 needs no protection meanwhile, because the kernel never kills it (oom_unkillable_task, mm/oom_kill.c).
	_ = kernelfile.Write(r.scoreFile, "0")
	done := make(chan struct{})
	r.starts <- func() {
		defer close(done)
		pid, err = fork(cmd, out)
	}
	<-done
	if r.protected {
		_ = kernelfile.Write(r.scoreFile, "-999")
	}
	if err != nil {
		return 0, nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	ended := make(chan syscall.WaitStatus, 1)
	r.exits[pid] = ended
	return pid, ended, nil
}

// Run runs a program to its end, and returns its exit code, -1 if a signal ended it, and what it printed.
func (r *Reaper) Run(cmd Command) (code int, output string, err error) {
	fd, err := unix.MemfdCreate("output", unix.MFD_CLOEXEC)
	if err != nil {
		return 0, "", err
	}
	out := os.NewFile(uintptr(fd), "output")
	defer out.Close() //nolint:errcheck // nothing is written to it here
	_, exit, err := r.Start(cmd, out)
	if err != nil {
		return 0, "", err
	}
	status := <-exit
	text, err := io.ReadAll(io.LimitReader(out, 4<<10))
	return status.ExitStatus(), string(text), err
}

// fork starts a program from a thread with files of its own.
func fork(cmd Command, out *os.File) (pid int, err error) {
	stdin, err := OpenTerminal(cmp.Or(cmd.Terminal, os.DevNull), os.O_RDWR)
	if err != nil {
		return 0, err
	}
	defer stdin.Close() //nolint:errcheck // the child has its own
	stdout := stdin.Fd()
	if cmd.Terminal == "" && out != nil {
		// Without /proc, the output is lost.
		if fd, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", out.Fd()), unix.O_WRONLY|unix.O_CLOEXEC, 0); err == nil {
			defer unix.Close(fd) //nolint:errcheck // the child has its own
			stdout = uintptr(fd)
		}
	}
	return syscall.ForkExec(cmd.Path, cmd.Args, &syscall.ProcAttr{
		Dir: cmd.Dir, Env: cmd.Env, Files: []uintptr{stdin.Fd(), stdout, stdout},
		Sys: &syscall.SysProcAttr{Setsid: true, Setctty: cmd.Terminal != "", Credential: cmd.Credential},
	})
}

// OpenTerminal opens a terminal, or another device, without making it this process's controlling terminal. It turns off the terminal's flow
// control (IXON, termios(3)): an XOFF, which may be noise on a serial line, would stop all that is written to the terminal.
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

// awaitProgram reads what exec will read of a program and its interpreter. A share whose host is gone blocks only
// the caller here, and in ForkExec the whole process (see runStarts). A host that goes between awaitProgram and exec,
// some microseconds later, still blocks this process: exec opens the files again.
func awaitProgram(path string) error {
	for i := range 5 { // the kernel takes so many scripts whose interpreter is a script (fs/exec.c)
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
	return changed, kernelfile.Write(r.scoreFile, "-999")
}

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
