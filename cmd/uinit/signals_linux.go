package main

import (
	"os"
	"os/signal"
	"strconv"
	"syscall"

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

func subscribe() signals {
	s := signals{make(chan os.Signal, 1), make(chan os.Signal, 16), make(chan os.Signal, 1)}
	signal.Notify(s.child, syscall.SIGCHLD)
	signal.Notify(s.repeat, repeatSignal)
	for n := syscall.Signal(1); n <= 64; n++ { // up to SIGRTMAX (signal(7))
		if process.ActionFor(n) != 0 {
			signal.Notify(s.shutdown, n)
		}
	}
	return s
}

// catchAllSignals catches every other signal and ignores it. Even a SIGSEGV that another process sends would otherwise
// end this process. The system calls take a millisecond, which the network's start does not have to wait for.
func catchAllSignals() (bool, error) {
	signal.Notify(make(chan os.Signal, 1)) // never read: the signals are dropped
	signal.Reset(syscall.SIGURG)           // the Go scheduler uses SIGURG and ignores those of others
	return true, process.Ignore(32, 34)    // Go leaves these to C libraries
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

// checkNetwork has the network daemon put right what other programs changed. A
// daemon that is not running checks when it starts.
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
		pid := []byte(strconv.Itoa(os.Getpid()))
		if err := os.WriteFile("/proc/sys/kernel/cad_pid", pid, 0); err != nil {
			return err
		}
	}
	return unix.Reboot(unix.LINUX_REBOOT_CMD_CAD_OFF)
}
