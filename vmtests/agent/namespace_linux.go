package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/netip"
	"os"
	"runtime"
	"time"

	"github.com/arcinit/arcinit/vmtests/probe"
	"golang.org/x/sys/unix"
)

// in calls f in a network namespace. The sockets that f opens stay there.
func in(namespace string, f func() error) error {
	done := make(chan error, 1)
	go func() {
		// The thread stays locked, so that it ends with this goroutine and no other
		// goroutine runs in the namespace.
		runtime.LockOSThread()
		done <- enter(namespace, f)
	}()
	return <-done
}

func enter(namespace string, f func() error) error {
	file, err := os.Open("/run/netns/" + namespace)
	if err != nil {
		return err
	}
	defer file.Close() //nolint:errcheck // only opened to be entered
	if err := unix.Setns(int(file.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter network namespace %s: %w", namespace, err)
	}
	return f()
}

// Serve listens for TCP connections and echoes what it receives.
func (g *Guest) Serve(e probe.Endpoint, _ *struct{}) error {
	return in(e.Namespace, func() error {
		l, err := net.Listen("tcp", e.Address)
		if err != nil {
			return err
		}
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					log.Printf("serve %s: %v", e.Address, err)
					return
				}
				go func() {
					_, _ = io.Copy(conn, conn)
					_ = conn.Close()
				}()
			}
		}()
		return nil
	})
}

// Talk connects to an address, sends a line and returns the answer.
func (g *Guest) Talk(e probe.Endpoint, reply *string) error {
	return in(e.Namespace, func() error {
		conn, err := net.DialTimeout("tcp", e.Address, e.Timeout)
		if err != nil {
			return err
		}
		defer conn.Close() //nolint:errcheck // a test's connection
		if err := conn.SetDeadline(time.Now().Add(e.Timeout)); err != nil {
			return err
		}
		if _, err := fmt.Fprintln(conn, "hello"); err != nil {
			return err
		}
		*reply, err = bufio.NewReader(conn).ReadString('\n')
		return err
	})
}

// Ping sends one ICMP echo request and waits for the answer.
func (g *Guest) Ping(e probe.Endpoint, _ *struct{}) error {
	return in(e.Namespace, func() error {
		to, err := netip.ParseAddr(e.Address)
		if err != nil {
			return err
		}
		// An unprivileged ICMP socket needs a permission (icmp(7)).
		if err := os.WriteFile("/proc/sys/net/ipv4/ping_group_range", []byte("0 0\n"), 0o644); err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMP)
		if err != nil {
			return fmt.Errorf("open a socket for ICMP: %w", err)
		}
		defer unix.Close(fd) //nolint:errcheck // a test's socket
		timeout := unix.NsecToTimeval(int64(e.Timeout))
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout); err != nil {
			return err
		}
		// Type 8, code 0, checksum, identifier, sequence number 1 (RFC 792).
		echo := append([]byte{8, 0, 0, 0, 0, 0, 0, 1}, "are you there?"...)
		if err := unix.Sendto(fd, echo, 0, &unix.SockaddrInet4{Addr: to.As4()}); err != nil {
			return fmt.Errorf("send: %w", err)
		}
		answer := make([]byte, 2*len(echo))
		n, from, err := unix.Recvfrom(fd, answer, 0)
		if errors.Is(err, unix.EAGAIN) {
			return errors.New("no answer")
		}
		if err != nil {
			return fmt.Errorf("receive: %w", err)
		}
		if a, ok := from.(*unix.SockaddrInet4); !ok || a.Addr != to.As4() || answer[0] != 0 || !bytes.Equal(answer[8:n], echo[8:]) {
			return fmt.Errorf("the answer is % x from %v", answer[:n], from)
		}
		return nil
	})
}
