package guest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
)

// monitor speaks QMP, QEMU's control protocol: JSON objects. It sends a command only after the answer to the previous one;
// events may arrive at any time.
type monitor struct {
	listener net.Listener

	command sync.Mutex // held while a command waits for its answer
	conn    net.Conn   // set when ready is closed
	ready   chan struct{}
	answers chan qmpMessage
	closed  chan struct{} // closed when QEMU is gone; the fields below then no longer change
	reason  string
}

type qmpMessage struct {
	Greeting json.RawMessage `json:"QMP"`
	Return   json.RawMessage `json:"return"`
	Error    *struct {
		Desc string `json:"desc"`
	} `json:"error"`
	Event string `json:"event"`
	Data  struct {
		Reason string `json:"reason"`
	} `json:"data"`
}

func listenQMP(path string) (*monitor, error) {
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen for QEMU's monitor: %w", err)
	}
	m := &monitor{
		listener: l,
		ready:    make(chan struct{}),
		answers:  make(chan qmpMessage),
		closed:   make(chan struct{}),
	}
	go m.serve()
	return m, nil
}

// serve reads from QEMU until QEMU ends, or until the listener is closed before QEMU has connected.
func (m *monitor) serve() {
	defer close(m.closed)
	conn, err := m.listener.Accept()
	if err != nil {
		return
	}
	defer func() { _ = conn.Close() }()
	m.conn = conn
	in := json.NewDecoder(conn)
	for negotiated := false; ; {
		var msg qmpMessage
		if err := in.Decode(&msg); err != nil {
			return
		}
		switch {
		case msg.Greeting != nil:
			if _, err := conn.Write([]byte(`{"execute":"qmp_capabilities"}`)); err != nil {
				return
			}
		case msg.Event == "SHUTDOWN":
			m.reason = msg.Data.Reason
		case msg.Event != "":
		case !negotiated:
			negotiated = true
			close(m.ready)
		default:
			m.answers <- msg
		}
	}
}

// execute runs a command and returns QEMU's answer.
func (m *monitor) execute(ctx context.Context, command string, arguments any) (json.RawMessage, error) {
	m.command.Lock()
	defer m.command.Unlock()
	select {
	case <-m.ready:
	case <-m.closed:
		return nil, errEnded
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	request := map[string]any{"execute": command}
	if arguments != nil {
		request["arguments"] = arguments
	}
	if err := json.NewEncoder(m.conn).Encode(request); err != nil {
		return nil, err
	}
	// The context must not interrupt this wait: the next command would take this command's answer.
	select {
	case msg := <-m.answers:
		if msg.Error != nil {
			return nil, errors.New(msg.Error.Desc)
		}
		return msg.Return, nil
	case <-m.closed:
		return nil, errEnded
	}
}

// close waits until everything from QEMU has been read. QEMU must have ended, or never have started.
func (m *monitor) close() {
	_ = m.listener.Close()
	<-m.closed
}
