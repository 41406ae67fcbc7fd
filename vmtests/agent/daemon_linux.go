package main

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"github.com/arcinit/arcinit/vmtests/probe"
)

// Start starts a daemon in its own session and returns its process ID.
func (g *Guest) Start(d probe.Daemon, reply *int) error {
	log, err := os.OpenFile(d.Log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	cmd := exec.Command(d.Argv[0], d.Argv[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		_ = log.Close()
		return err
	}
	*reply = cmd.Process.Pid
	go func() {
		_ = cmd.Wait()
		_, _ = fmt.Fprintf(log, "%s ended: %s\n", d.Argv[0], cmd.ProcessState)
		_ = log.Close()
	}()
	return nil
}
