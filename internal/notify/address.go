package notify

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Address is where the host listens. The zero Address stands for no host.
type Address struct {
	network string // vsock, unix or virtio-port
	name    string // the socket's path, or the port's name
	cid     uint32
	port    uint32
}

const (
	networkVsock      = "vsock"
	networkUnix       = "unix"
	networkVirtioPort = "virtio-port"
)

// maxUnixPath is the length of the longest path in a sockaddr_un with its final
// NUL (unix(7)).
const maxUnixPath = 107

// Parse reads an address:
//
//	vsock:CID:PORT    a stream socket; vsock-stream:CID:PORT, as systemd writes it, is the same
//	unix:PATH         a socket in the guest, for datagrams or a stream
//	virtio-port:NAME  a virtio-serial port
//
// The host has CID 2 (vsock(7)). On a stream, each message has its own connection
// (sd_notify(3)). On a virtio-serial port, messages follow each other as lines.
func Parse(s string) (a Address, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("address %q: %w", s, err)
		}
	}()
	network, rest, _ := strings.Cut(s, ":")
	switch network {
	case networkVsock, "vsock-stream":
		cid, port, _ := strings.Cut(rest, ":")
		c, errCID := strconv.ParseUint(cid, 10, 32)
		p, errPort := strconv.ParseUint(port, 10, 32)
		// The highest numbers stand for any (VMADDR_CID_ANY and VMADDR_PORT_ANY).
		if errCID != nil || errPort != nil || c == math.MaxUint32 || p == math.MaxUint32 {
			return Address{}, errors.New("not vsock:CID:PORT with two numbers below 4294967295")
		}
		return Address{network: networkVsock, cid: uint32(c), port: uint32(p)}, nil
	case networkUnix:
		if !strings.HasPrefix(rest, "/") || len(rest) > maxUnixPath {
			return Address{}, fmt.Errorf("not unix: with an absolute path of at most %d bytes", maxUnixPath)
		}
		return Address{network: networkUnix, name: rest}, nil
	case networkVirtioPort:
		if rest == "" {
			return Address{}, errors.New("not virtio-port: with the name of a port")
		}
		return Address{network: networkVirtioPort, name: rest}, nil
	}
	return Address{}, errors.New("not vsock:CID:PORT, unix:PATH or virtio-port:NAME")
}

// String returns the address as Parse reads it; empty for the zero Address.
func (a Address) String() string {
	switch a.network {
	case "":
		return ""
	case networkVsock:
		return fmt.Sprintf("%s:%d:%d", a.network, a.cid, a.port)
	}
	return a.network + ":" + a.name
}
