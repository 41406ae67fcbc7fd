package main

import (
	"os"
	"os/signal"
	"strconv"
	"syscall"

	"github.com/arcinit/arcinit/internal/process"
	"golang.org/x/sys/unix"
)

// signals are those sent to this process. Each kind has a channel of its own, so
// that many of one crowd out none of another: one place stands for any number of
// ended children, or of what means nothing to an init.
type signals struct {
	ended, requests, others chan os.Signal
}

// takeSignals takes those that this process heeds.
func takeSignals() signals {
	s := signals{make(chan os.Signal, 1), make(chan os.Signal, 16), make(chan os.Signal, 1)}
	signal.Notify(s.ended, syscall.SIGCHLD)
	for n := syscall.Signal(1); n <= lastSignal; n++ {
		if process.ActionFor(n) != 0 {
			signal.Notify(s.requests, n)
		}
	}
	return s
}

// takeOthers takes every other signal that a process can. Even SIGSEGV, sent by
// another one, would end this one. To take them all is a millisecond's work, so
// it is done when there is somebody to send them.
func (s signals) takeOthers() {
	for n := syscall.Signal(1); n <= lastSignal; n++ {
		switch {
		case n == syscall.SIGKILL, n == syscall.SIGSTOP, n == syscall.SIGURG:
			// The kernel's, and the Go scheduler's, which ignores it otherwise.
		case n != syscall.SIGCHLD && process.ActionFor(n) == 0:
			signal.Notify(s.others, n)
		}
	}
}

// lastSignal is SIGRTMAX (signal(7)).
const lastSignal = 64

// serve reaps children and heeds requests to shut down. It does not return.
func (c *caretaker) serve(s signals) {
	if err := c.takeCtrlAltDel(); err != nil {
		c.log.Debug("take ctrl-alt-del as a signal", "err", err)
	}
	for {
		select {
		case <-s.ended:
			c.services.Reaper.Reap()
		case sig := <-s.requests:
			c.shutdown.Request(process.ActionFor(sig))
		case sig := <-s.others:
			c.log.Debug("signal ignored", "signal", sig)
		}
	}
}

// takeCtrlAltDel has ctrl-alt-del come as SIGINT instead of resetting the machine,
// and to this process (Documentation/admin-guide/sysctl/kernel.rst, cad_pid).
func (c *caretaker) takeCtrlAltDel() error {
	if c.role != "init" {
		pid := []byte(strconv.Itoa(os.Getpid()))
		if err := os.WriteFile("/proc/sys/kernel/cad_pid", pid, 0); err != nil {
			return err
		}
	}
	return unix.Reboot(unix.LINUX_REBOOT_CMD_CAD_OFF)
}

// withoutPowerOff is what takes the place of a power-off.
func (c *caretaker) withoutPowerOff() process.Action {
	if c.config.Load().WithoutPowerOff == "halt" {
		return process.Halt
	}
	return process.Reboot
}
