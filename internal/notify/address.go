package notify

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Address is where the host listens. The zero Address is none.
type Address struct {
	network string // vsock, unix or virtio-port
	name    string // the socket's path, the port's name
	cid     uint32
	port    uint32
}

const (
	networkVsock      = "vsock"
	networkUnix       = "unix"
	networkVirtioPort = "virtio-port"
)

// maxUnixPath is the room for a path in a sockaddr_un, less the NUL at its end
// (unix(7)).
const maxUnixPath = 107

// Parse reads an address:
//
//	vsock:CID:PORT    a stream socket; systemd's spelling vsock-stream:CID:PORT is understood too
//	unix:PATH         a socket in the guest: datagrams, or a stream if the socket is one
//	virtio-port:NAME  a virtio-serial port
//
// The host has CID 2 (vsock(7)). Over a stream each message has a connection of
// its own, as sd_notify(3) has it where there are no datagrams, and ends with it;
// over a virtio-serial port messages follow each other as lines.
func Parse(s string) (Address, error) {
	a, err := parse(s)
	if err != nil {
		return Address{}, fmt.Errorf("address %q: %w", s, err)
	}
	return a, nil
}

func parse(s string) (Address, error) {
	network, rest, _ := strings.Cut(s, ":")
	switch network {
	case networkVsock, "vsock-stream":
		cid, port, _ := strings.Cut(rest, ":")
		c, errCID := strconv.ParseUint(cid, 10, 32)
		p, errPort := strconv.ParseUint(port, 10, 32)
		// The highest of each stands for any (vsock(7), VMADDR_CID_ANY and
		// VMADDR_PORT_ANY).
		if errCID != nil || errPort != nil || c == math.MaxUint32 || p == math.MaxUint32 {
			return Address{}, errors.New("not vsock:CID:PORT with two numbers below 4294967295")
		}
		return Address{network: networkVsock, cid: uint32(c), port: uint32(p)}, nil
	case networkUnix:
		if !strings.HasPrefix(rest, "/") {
			return Address{}, errors.New("not unix: with an absolute path")
		}
		if len(rest) > maxUnixPath {
			return Address{}, fmt.Errorf("path longer than %d bytes", maxUnixPath)
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

// String is the address as Parse reads it; empty for none.
func (a Address) String() string {
	switch a.network {
	case "":
		return ""
	case networkVsock:
		return fmt.Sprintf("%s:%d:%d", a.network, a.cid, a.port)
	}
	return a.network + ":" + a.name
}
