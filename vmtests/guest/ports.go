package guest

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
)

// port is the host's end of a virtio-serial port: a socket that QEMU connects to.
type port struct {
	listener  net.Listener
	conn      net.Conn      // valid once connected is closed, if not nil
	connected chan struct{} // QEMU has connected, or never will
	drained   chan struct{} // the last line has been handed over
}

func servePort(config Port, path string) (*port, error) {
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen for port %s: %w", config.Name, err)
	}
	p := &port{listener: l, connected: make(chan struct{}), drained: make(chan struct{})}
	go func() {
		defer close(p.drained)
		p.conn, err = l.Accept()
		close(p.connected)
		if err == nil {
			eachLine(p.conn, config.Line)
		}
	}()
	return p, nil
}

// eachLine reads to the end and calls f, if there is one, with each line.
func eachLine(r io.Reader, f func([]byte)) {
	for in := bufio.NewReader(r); ; {
		line, err := in.ReadBytes('\n')
		if len(line) > 0 && f != nil {
			f(bytes.TrimRight(line, "\r\n"))
		}
		if err != nil {
			return
		}
	}
}

func (p *port) send(line string) error {
	<-p.connected
	if p.conn == nil {
		return errEnded
	}
	_, err := io.WriteString(p.conn, line+"\n")
	return err
}

// close waits until the last line has been handed over. QEMU must have ended, or never have started.
func (p *port) close() {
	_ = p.listener.Close()
	<-p.drained
	if p.conn != nil {
		_ = p.conn.Close()
	}
}
