package guest

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
)

// port is the host's end of a virtio-serial port. QEMU connects to its socket.
type port struct {
	listener  net.Listener
	conn      net.Conn      // set when connected is closed; nil if QEMU never connected
	connected chan struct{} // closed when QEMU has connected, or never will
	drained   chan struct{} // closed after the last call of Line
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

// eachLine calls f, if not nil, with each line until the end.
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

// close returns after the last call of Line. QEMU must have ended, or never have started.
func (p *port) close() {
	_ = p.listener.Close()
	<-p.drained
	if p.conn != nil {
		_ = p.conn.Close()
	}
}
