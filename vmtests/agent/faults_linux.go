package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"github.com/arcinit/arcinit/vmtests/probe"
	"golang.org/x/sys/unix"
)

// Hog takes memory until the kernel kills the agent. With a limit, in bytes, the agent moves to a cgroup with that limit first.
func (g *Guest) Hog(limit int, _ *struct{}) error {
	if limit > 0 {
		const root, dir = "/sys/fs/cgroup", "/sys/fs/cgroup/hog"
		if err := os.WriteFile(root+"/cgroup.subtree_control", []byte("+memory"), 0); err != nil {
			return err
		}
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
		for _, f := range [][2]string{{"memory.max", strconv.Itoa(limit)}, {"cgroup.procs", "0"}} {
			if err := os.WriteFile(dir+"/"+f[0], []byte(f[1]), 0); err != nil {
				return err
			}
		}
	}
	for {
		if _, err := unix.Mmap(-1, 0, 1<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_POPULATE); err != nil {
			return fmt.Errorf("take memory: %w", err)
		}
	}
}

// WriteSync writes a file and waits until the file is on the disk.
func (g *Guest) WriteSync(w WriteFile, _ *struct{}) error {
	f, err := os.OpenFile(w.Path, os.O_WRONLY|os.O_CREATE|os.O_SYNC, 0o644)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // all is written
	_, err = f.Write(w.Data)
	return err
}

// Squeeze starts a program that limits something and kills the processes, and takes the limit away later. The program
// outlives the agent.
func (g *Guest) Squeeze(s probe.Squeeze, _ *struct{}) error {
	args := []string{"squeeze", s.What, strconv.Itoa(s.Limit), s.For.String()}
	for _, pid := range s.Kill {
		args = append(args, strconv.Itoa(pid))
	}
	program := exec.Command("/proc/self/exe", args...)
	program.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return program.Start()
}

// squeeze is the program that Squeeze starts. While the limit lasts it opens nothing and starts no thread.
func squeeze(what, limit, lasts string, kill []string) error {
	n, err := strconv.Atoi(limit)
	if err != nil {
		return err
	}
	duration, err := time.ParseDuration(lasts)
	if err != nil {
		return err
	}
	var pids []int
	for _, text := range kill {
		pid, err := strconv.Atoi(text)
		if err != nil {
			return err
		}
		pids = append(pids, pid)
	}
	set, restore := limitFiles(n)
	if what != probe.FilesOfPID1 {
		if set, restore, err = limitParameter(what, limit); err != nil {
			return err
		}
	}
	if err := set(); err != nil {
		return err
	}
	for _, pid := range pids {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	time.Sleep(duration)
	return restore()
}

// limitFiles limits the descriptors of PID 1.
func limitFiles(n int) (set, restore func() error) {
	var old unix.Rlimit
	set = func() error {
		return unix.Prlimit(1, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(n), Max: 1 << 20}, &old)
	}
	return set, func() error { return unix.Prlimit(1, unix.RLIMIT_NOFILE, &old, nil) }
}

// limitParameter changes the kernel parameter of this file in /proc/sys.
func limitParameter(file, value string) (set, restore func() error, err error) {
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		return nil, nil, err
	}
	old := make([]byte, 64)
	n, _ := f.ReadAt(old, 0)
	write := func(text []byte) func() error {
		return func() error {
			_, err := f.WriteAt(text, 0)
			return err
		}
	}
	return write([]byte(value)), write(bytes.Clone(old[:n])), nil
}

// idle does nothing until it is killed.
func idle() error {
	for {
		time.Sleep(time.Hour)
	}
}

// FillPort writes to a virtio-serial port until the port takes no more.
func (g *Guest) FillPort(device string, _ *struct{}) error {
	fd, err := unix.Open(device, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", device, err)
	}
	defer unix.Close(fd) //nolint:errcheck // it is full
	for err == nil {
		_, err = unix.Write(fd, make([]byte, 4096))
	}
	if !errors.Is(err, unix.EAGAIN) {
		return fmt.Errorf("fill %s: %w", device, err)
	}
	return nil
}
