package uinit

import (
	"os"
	"os/signal"
	"strconv"
	"syscall"

	"github.com/arcinit/arcinit/internal/kernelfile"
	"github.com/arcinit/arcinit/internal/process"
	"golang.org/x/sys/unix"
)

// signals are the signals that mean something to an init. Each kind has its own channel, so that a flood of one kind
// does not crowd out another. One entry stands for any number of ended children or of repeats.
type signals struct {
	child, shutdown, repeat chan os.Signal
}

// repeatSignal reports that the set-up was run again.
const repeatSignal = syscall.SIGHUP

// subscribe subscribes to the signals that mean something, and ignores all others. Of these, Go itself ignores most, but
// it crashes on some, even if another process sends them, and leaves some to C libraries or to the kernel. Those that
// come of Go's own faults, which it must see, are only dropped.
func subscribe() signals {
	s := signals{make(chan os.Signal, 1), make(chan os.Signal, 16), make(chan os.Signal, 1)}
	signal.Notify(s.child, syscall.SIGCHLD)
	signal.Notify(s.repeat, repeatSignal)
	for n := syscall.Signal(1); n <= 64; n++ { // up to SIGRTMAX (signal(7))
		if process.ActionFor(n) != 0 {
			signal.Notify(s.shutdown, n)
		}
	}
	signal.Notify(make(chan os.Signal, 1), syscall.SIGILL, syscall.SIGBUS, syscall.SIGFPE, syscall.SIGSEGV, syscall.SIGPIPE) // never read
	process.Ignore(syscall.SIGQUIT, syscall.SIGTRAP, syscall.SIGABRT, syscall.SIGSTKFLT, syscall.SIGSYS,
		syscall.SIGTSTP, syscall.SIGTTIN, syscall.SIGTTOU, 32, 34)
	return s
}

// serveSignals reaps children and acts on requests. It does not return.
func (p *initProcess) serveSignals() {
	if err := p.catchCtrlAltDel(); err != nil {
		p.log.Debug("cannot catch ctrl-alt-del", "err", err)
	}
	for {
		select {
		case <-p.signals.child:
			p.services.Reaper.Reap()
		case sig := <-p.signals.shutdown:
			p.shutdown.Request(process.ActionFor(sig))
		case <-p.signals.repeat:
			p.checkNetwork()
		}
	}
}

// checkNetwork has the network daemon put right what other programs changed. A daemon that is not running checks when it starts.
func (p *initProcess) checkNetwork() {
	for _, s := range p.services.Status() {
		if s.Name == "netd" && s.PID != 0 {
			_ = syscall.Kill(s.PID, checkSignal)
		}
	}
}

// catchCtrlAltDel makes the kernel send SIGINT to this process on ctrl-alt-del
// instead of resetting the machine (Documentation/admin-guide/sysctl/kernel.rst, cad_pid).
func (p *initProcess) catchCtrlAltDel() error {
	if p.role != "init" {
		if err := kernelfile.Write("/proc/sys/kernel/cad_pid", strconv.Itoa(os.Getpid())); err != nil {
			return err
		}
	}
	return unix.Reboot(unix.LINUX_REBOOT_CMD_CAD_OFF)
}
