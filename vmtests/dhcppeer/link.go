package dhcppeer

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
)

// maxFrame is the longest Ethernet frame that a virtio NIC sends: an MTU of 65535 and the
// header. QEMU has no offloads for such a network.
const maxFrame = 65535 + ethernetHeader

// link is the peer's end of the cable: a unix socket that QEMU connects to. Each frame
// follows its length in 4 bytes, big endian (QEMU's net/stream.c).
type link struct {
	dir      string
	listener net.Listener
	receive  func(frame []byte) // called for one frame after the other
	ended    sync.WaitGroup
	sending  sync.Mutex // held while a frame is sent, for as long as QEMU takes

	mu     sync.Mutex
	conn   net.Conn // nil while none is plugged in
	closed bool
}

func listen(receive func(frame []byte)) (*link, error) {
	// A short path: a socket address has room for 107 bytes.
	dir, err := os.MkdirTemp("/tmp", "arcinit-nic-")
	if err != nil {
		return nil, fmt.Errorf("make a directory for a NIC's socket: %w", err)
	}
	l := &link{dir: dir, receive: receive}
	l.listener, err = net.Listen("unix", l.path())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listen for a NIC: %w", err), os.RemoveAll(dir))
	}
	l.ended.Go(l.serve)
	return l, nil
}

func (l *link) path() string { return filepath.Join(l.dir, "nic") }

// serve serves one guest after the other.
func (l *link) serve() {
	for {
		conn, err := l.listener.Accept()
		if err != nil {
			return
		}
		if l.plug(conn) {
			l.read(conn)
			l.plug(nil)
		}
		_ = conn.Close()
	}
}

func (l *link) plug(conn net.Conn) (ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conn = conn
	return !l.closed
}

// read passes frames to receive until the connection ends.
func (l *link) read(conn net.Conn) {
	in := bufio.NewReader(conn)
	for {
		var length [4]byte
		if _, err := io.ReadFull(in, length[:]); err != nil {
			return
		}
		n := binary.BigEndian.Uint32(length[:])
		if n > maxFrame {
			return // the boundaries of further frames are unknown
		}
		frame := make([]byte, n)
		if _, err := io.ReadFull(in, frame); err != nil {
			return
		}
		l.receive(frame)
	}
}

// send sends a frame, if a guest is plugged in.
func (l *link) send(frame []byte) {
	l.sending.Lock()
	defer l.sending.Unlock()
	l.mu.Lock()
	conn := l.conn
	l.mu.Unlock()
	if conn == nil {
		return
	}
	// The guest may have ended.
	_, _ = conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(frame))), frame...))
}

func (l *link) close() error {
	l.mu.Lock()
	l.closed = true
	if l.conn != nil {
		_ = l.conn.Close()
	}
	l.mu.Unlock()
	err := l.listener.Close()
	l.ended.Wait()
	return errors.Join(err, os.RemoveAll(l.dir))
}
