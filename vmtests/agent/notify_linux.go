package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"sync"

	"github.com/arcinit/arcinit/vmtests/probe"
	"golang.org/x/sys/unix"
)

// Listen receives arcinit's notifications until the agent ends. It adds each message
// to a file, as a line of JSON: a probe.Heard. Without a file it reads nothing.
func (g *Guest) Listen(l probe.Listen, _ *struct{}) error {
	if l.File == "" {
		return listenVsock(l.Port, nil)
	}
	f, err := os.OpenFile(l.File, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	var one sync.Mutex
	heard := func(message []byte, port uint32) {
		line, err := json.Marshal(probe.Heard{Message: string(message), Port: port})
		if err == nil {
			one.Lock()
			_, err = f.Write(append(line, '\n'))
			one.Unlock()
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "test agent:", err)
		}
	}
	if l.Path != "" {
		return listenUnix(l.Path, heard)
	}
	return listenVsock(l.Port, heard)
}

func listenUnix(path string, heard func([]byte, uint32)) error {
	conn, err := net.ListenPacket("unixgram", path)
	if err != nil {
		return err
	}
	// The agent must still read messages that were sent before SIGTERM. So it sends
	// itself a last datagram and exits when that datagram arrives.
	const end = "the end"
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, unix.SIGTERM)
	go func() {
		<-asked
		last, err := net.Dial("unixgram", path)
		if err == nil {
			_, err = last.Write([]byte(end))
		}
		if err != nil {
			os.Exit(1)
		}
	}()
	go func() {
		for buf := make([]byte, 4096); ; {
			n, _, err := conn.ReadFrom(buf)
			if err != nil || string(buf[:n]) == end {
				os.Exit(0)
			}
			heard(buf[:n], 0)
		}
	}()
	return nil
}

// listenVsock accepts one connection for each message.
func listenVsock(port uint32, heard func([]byte, uint32)) error {
	fd, err := unix.Socket(unix.AF_VSOCK, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("vsock: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrVM{CID: unix.VMADDR_CID_ANY, Port: port}); err != nil {
		return fmt.Errorf("bind vsock port %d: %w", port, err)
	}
	if err := unix.Listen(fd, 8); err != nil {
		return fmt.Errorf("listen on vsock port %d: %w", port, err)
	}
	if heard == nil {
		return nil // nobody accepts a connection
	}
	go func() {
		for {
			conn, from, err := unix.Accept4(fd, unix.SOCK_CLOEXEC)
			if err != nil {
				return
			}
			f := os.NewFile(uintptr(conn), "vsock")
			message, _ := io.ReadAll(f)
			// Write the message before closing the connection: the sender waits for
			// the close and may then end the agent.
			heard(message, from.(*unix.SockaddrVM).Port)
			_ = f.Close()
		}
	}()
	return nil
}
