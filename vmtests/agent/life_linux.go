package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/arcinit/arcinit/vmtests/probe"
	"golang.org/x/sys/unix"
)

// Kill sends a signal.
func (g *Guest) Kill(s probe.Signal, _ *struct{}) error {
	return syscall.Kill(s.PID, syscall.Signal(s.Number))
}

// requests are the signals that ask PID 1 for a shutdown (docs/shutdown.md).
var requests = []int{2, 10, 12, 15, 30, 37, 38, 39}

// SendSignals sends PID 1 every signal that is no request, many times.
func (g *Guest) SendSignals(rounds int, _ *struct{}) error {
	for range rounds {
		for n := 1; n <= 64; n++ {
			if slices.Contains(requests, n) {
				continue
			}
			// The queue of signals may be full.
			if e := syscall.Kill(1, syscall.Signal(n)); e != nil && !errors.Is(e, syscall.EAGAIN) {
				return fmt.Errorf("send PID 1 signal %d: %w", n, e)
			}
		}
	}
	return nil
}

// OnTerm tells the agent what to do on SIGTERM.
func (g *Guest) OnTerm(o probe.OnTerm, _ *struct{}) error {
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	go func() {
		<-term
		time.Sleep(o.Wait)
		for _, file := range o.Files {
			err := os.WriteFile(file, o.Data, 0o644)
			if o.Stay {
				err = errors.Join(err, noteTimes(file))
			}
			if err != nil {
				fmt.Fprintln(os.Stderr, "on SIGTERM:", err)
			}
		}
		os.Exit(0)
	}()
	return nil
}

// noteTimes adds the time to a file ten times a second. It returns only on an error.
func noteTimes(file string) error {
	for {
		if err := noteTime(file); err != nil {
			return err
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// noteTime adds a line to a file: the time since the kernel's boot, in nanoseconds.
func noteTime(file string) error {
	now, err := uptime()
	if err != nil {
		return err
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(f, now.Nanoseconds())
	return errors.Join(err, f.Close())
}

// Mount mounts a file system.
func (g *Guest) Mount(m probe.MountRequest, _ *struct{}) error {
	if err := os.MkdirAll(m.Target, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(m.Source, m.Target, m.FSType, m.Flags, m.Data); err != nil {
		return fmt.Errorf("mount %s on %s: %w", m.Source, m.Target, err)
	}
	if m.File == "" {
		return nil
	}
	f, err := os.Create(m.File)
	g.open = append(g.open, f)
	return err
}

// Say writes one line to standard output and one to standard error.
func (g *Guest) Say(text [2]string, _ *struct{}) error {
	_, err := fmt.Fprintln(os.Stdout, text[0])
	fmt.Fprintln(os.Stderr, text[1])
	return err
}

// WriteLines writes n numbered lines to standard output.
func (g *Guest) WriteLines(n int, _ *struct{}) error {
	w := bufio.NewWriter(os.Stdout)
	for i := range n {
		_, _ = fmt.Fprintf(w, "line %d of a service that writes more than anybody reads\n", i)
	}
	return w.Flush()
}

// Session returns the agent's session and process group.
func (g *Guest) Session(_ struct{}, reply *[2]int) (err error) {
	reply[0], err = unix.Getsid(0)
	reply[1] = unix.Getpgrp()
	return err
}

// Fill writes to a file until its file system is full.
func (g *Guest) Fill(path string, _ *struct{}) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // it is full
	for block := make([]byte, 1<<20); len(block) > 0; {
		if _, err := f.Write(block); err != nil {
			block = block[:len(block)/2] // so that the last write is a single byte
		}
	}
	return nil
}

// Remove deletes a file.
func (g *Guest) Remove(path string, _ *struct{}) error { return os.Remove(path) }

// Storm starts a program that makes n orphans and kills the agent when a tenth of them
// exist. The program writes the result to the file. Storm returns at once.
func (g *Guest) Storm(request struct {
	N    int
	File string
}, _ *struct{}) error {
	storm := exec.Command("/proc/self/exe", "storm", strconv.Itoa(request.N), request.File, strconv.Itoa(os.Getpid()))
	storm.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	storm.Stdout, storm.Stderr = os.Stdout, os.Stderr
	return storm.Start()
}

// storm is the program that Storm starts.
func storm(number, file, agent string) error {
	n, err := strconv.Atoi(number)
	if err != nil {
		return err
	}
	pid, err := strconv.Atoi(agent)
	if err != nil {
		return err
	}
	forked, err := forks()
	if err != nil {
		return err
	}
	began, err := uptime()
	if err != nil {
		return err
	}
	result := probe.Storm{Began: began}
	made := make(chan error, 1)
	go func() {
		var err error
		if n > 0 {
			result.Took, err = makeOrphans(n)
		}
		made <- err
	}()
	for enough := forked + n/10; forked < enough; {
		time.Sleep(10 * time.Millisecond)
		if forked, err = forks(); err != nil {
			return err
		}
	}
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

// forks returns how many processes and threads the kernel has created since its boot
// (proc_stat(5)).
func forks() (n int, err error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(text), "\nprocesses ")
	if _, err := fmt.Sscan(rest, &n); err != nil {
		return 0, fmt.Errorf("count of processes in /proc/stat: %w", err)
	}
	return n, nil
}

// uptime returns the time since the kernel's boot.
func uptime() (time.Duration, error) {
	var now unix.Timespec
	err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now)
	return time.Duration(now.Nano()), err
}

// deaf is a service that ignores SIGTERM, and adds the time to a file until it is killed.
func deaf(file string) error {
	signal.Ignore(syscall.SIGTERM)
	return noteTimes(file)
}

// note is a service: it adds the time to a file and ends with an exit code.
func note(file, code string) error {
	n, err := strconv.Atoi(code)
	if err != nil {
		return err
	}
	if err := noteTime(file); err != nil {
		return err
	}
	os.Exit(n)
	return nil
}
