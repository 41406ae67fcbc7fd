package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/arcinit/arcinit/vmtests/probe"
	"golang.org/x/sys/unix"
)

// Kill sends a signal.
func (g *Guest) Kill(s probe.Signal, _ *struct{}) error {
	return syscall.Kill(s.PID, syscall.Signal(s.Number))
}

// OnTerm has the agent do something when it is asked to end.
func (g *Guest) OnTerm(o probe.OnTerm, _ *struct{}) error {
	if o.Ignore {
		signal.Ignore(syscall.SIGTERM)
		return nil
	}
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	go func() {
		<-term
		for _, file := range o.Files {
			if err := os.WriteFile(file, o.Data, 0o644); err != nil {
				fmt.Fprintln(os.Stderr, "on SIGTERM:", err)
			}
		}
		os.Exit(0)
	}()
	return nil
}

// Mount mounts a file system.
func (g *Guest) Mount(m probe.MountRequest, _ *struct{}) error {
	if err := os.MkdirAll(m.Target, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(m.Source, m.Target, m.FSType, 0, ""); err != nil {
		return fmt.Errorf("mount %s on %s: %w", m.Source, m.Target, err)
	}
	if m.File == "" {
		return nil
	}
	f, err := os.Create(m.File)
	g.open = append(g.open, f)
	return err
}

// Say writes to standard output, and to standard error.
func (g *Guest) Say(text [2]string, _ *struct{}) error {
	_, err := fmt.Fprintln(os.Stdout, text[0])
	fmt.Fprintln(os.Stderr, text[1])
	return err
}

// Session is the agent's session, and its process group.
func (g *Guest) Session(_ struct{}, reply *[2]int) (err error) {
	reply[0], err = unix.Getsid(0)
	reply[1] = unix.Getpgrp()
	return err
}

// Fill writes to a file until there is no room left.
func (g *Guest) Fill(path string, _ *struct{}) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // it is full
	for block := make([]byte, 1<<20); len(block) > 0; {
		if _, err := f.Write(block); err != nil {
			block = block[:len(block)/2] // the last bytes count too
		}
	}
	return nil
}

// Remove deletes a file.
func (g *Guest) Remove(path string, _ *struct{}) error { return os.Remove(path) }

// Storm starts a program that makes n orphans and kills the agent in their midst,
// and writes what became of it to the file. It returns at once.
func (g *Guest) Storm(request struct {
	N    int
	File string
}, _ *struct{}) error {
	storm := exec.Command("/proc/self/exe", "storm", strconv.Itoa(request.N), request.File, strconv.Itoa(os.Getpid()))
	storm.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	storm.Stdout, storm.Stderr = os.Stdout, os.Stderr
	return storm.Start()
}

// storm is that program.
func storm(number, file, agent string) error {
	n, err := strconv.Atoi(number)
	if err != nil {
		return err
	}
	pid, err := strconv.Atoi(agent)
	if err != nil {
		return err
	}
	var result probe.Storm
	made := make(chan error, 1)
	if n > 0 {
		go func() {
			var err error
			result.Took, err = makeOrphans(n)
			made <- err
		}()
	} else {
		made <- nil
	}
	// The storm is under way by then.
	time.Sleep(300 * time.Millisecond)
	killed, err := uptime()
	if err != nil {
		return err
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		return err
	}
	if err := <-made; err != nil {
		return err
	}
	result.Made, result.Killed = n, killed
	text, err := json.Marshal(result)
	if err != nil {
		return err
	}
	if err := os.WriteFile(file+".new", text, 0o644); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

// uptime is the time since the kernel's boot.
func uptime() (time.Duration, error) {
	var now unix.Timespec
	err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now)
	return time.Duration(now.Nano()), err
}

// note adds a line to a file and ends with a code: a service that can be seen to
// have run.
func note(file, line, code string) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(f, line); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	n, err := strconv.Atoi(code)
	if err == nil {
		os.Exit(n)
	}
	return err
}
