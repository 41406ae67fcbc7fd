package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"github.com/arcinit/arcinit/vmtests/probe"
	"golang.org/x/sys/unix"
)

// container returns the command of a process that has its own process ids and mounts, and its parent's network.
func container(args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS}
	cmd.Stderr = os.Stderr
	return cmd
}

// Flood starts a container on the guest's network that connects to an abstract socket as fast as it can, until the
// guest ends. It returns what the container could do before.
func (g *Guest) Flood(f probe.Flood, reply *probe.Flooder) error {
	cmd := container("flood", f.Address, fmt.Sprint(f.PID))
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	return json.NewDecoder(out).Decode(reply)
}

func flood(address, pid string) error {
	var can probe.Flooder
	l, err := net.Listen("unix", address)
	if can.Listens = err == nil; can.Listens {
		_ = l.Close()
	}
	var other int
	if _, err := fmt.Sscan(pid, &other); err != nil {
		return err
	}
	can.Signals = !errors.Is(syscall.Kill(other, 0), syscall.ESRCH)
	conn, err := net.Dial("unix", address)
	if err != nil {
		return err
	}
	if can.Heard, err = io.ReadAll(conn); err != nil {
		return err
	}
	if err := json.NewEncoder(os.Stdout).Encode(can); err != nil {
		return err
	}
	for range 8 {
		go func() {
			for {
				if conn, err := net.Dial("unix", address); err == nil {
					_ = conn.Close()
				}
			}
		}()
	}
	select {}
}

// Squat runs a program on a network of its own, where a container holds an abstract socket. The program's standard
// output ends with "signalled" if the container got SIGUSR2.
func (g *Guest) Squat(s probe.Squat, reply *probe.Result) error {
	cmd := exec.Command("/proc/self/exe", append([]string{"squat", s.Address}, s.Argv...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	return run(cmd, reply)
}

func squat(address string, argv []string) error {
	holder := container("hold", address)
	in, err := holder.StdinPipe()
	if err != nil {
		return err
	}
	out, err := holder.StdoutPipe()
	if err != nil {
		return err
	}
	if err := holder.Start(); err != nil {
		return err
	}
	said := bufio.NewReader(out)
	if _, err := said.ReadString('\n'); err != nil {
		return fmt.Errorf("hold %s: %w", address, err)
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	ran := cmd.Run()
	_ = in.Close()
	_, err = io.Copy(os.Stdout, said)
	return errors.Join(ran, err, holder.Wait())
}

// hold listens on an abstract socket until its standard input ends.
func hold(address string) error {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGUSR2)
	l, err := net.Listen("unix", address)
	if err != nil {
		return err
	}
	defer l.Close() //nolint:errcheck // the process ends
	fmt.Println("holding")
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	signal.Stop(signals)
	select {
	case <-signals:
		fmt.Println("signalled")
	default:
	}
	return nil
}
