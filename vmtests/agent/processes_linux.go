package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/arcinit/arcinit/vmtests/probe"
	"golang.org/x/sys/unix"
)

// Processes lists all processes and kernel threads.
func (g *Guest) Processes(_ struct{}, reply *[]probe.Process) error {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		p, err := process(dir)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
			continue // the process has ended
		}
		if err != nil {
			return err
		}
		*reply = append(*reply, p)
	}
	return nil
}

func process(dir string) (p probe.Process, err error) {
	status, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return p, err
	}
	numbers := map[string]*int{
		"Pid": &p.PID, "PPid": &p.PPID, "RssAnon": &p.RSSAnon, "VmRSS": &p.VmRSS, "Threads": &p.Threads,
	}
	for s := bufio.NewScanner(bytes.NewReader(status)); s.Scan(); {
		name, value, _ := strings.Cut(s.Text(), ":")
		field, _, _ := strings.Cut(strings.TrimSpace(value), " ")
		if name == "State" {
			p.State = field
		}
		if n := numbers[name]; n != nil {
			if *n, err = strconv.Atoi(field); err != nil {
				return p, fmt.Errorf("%s/status: %s: %w", dir, name, err)
			}
		}
	}
	cmdline, err := os.ReadFile(filepath.Join(dir, "cmdline"))
	if err != nil {
		return p, err
	}
	if len(cmdline) > 0 {
		p.Args = strings.Split(strings.TrimSuffix(string(cmdline), "\x00"), "\x00")
	}
	fds, err := os.ReadDir(filepath.Join(dir, "fd"))
	p.FDs = len(fds)
	return p, err
}
