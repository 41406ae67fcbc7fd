// Package notify tells the host the guest's state in the assignments of sd_notify(3): READY=1, STATUS=, ERRNO=, STOPPING=1. A VMM that
// supports systemd's credential vmm.notify_socket understands them. The package never blocks its caller, and must not know what a guest is.
package notify

import (
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

// maxUnixPath is the length of the longest path in a sockaddr_un with its final NUL (unix(7)).
const maxUnixPath = 107

// Parse reads an address:
//
//	vsock:CID:PORT    a stream socket; vsock-stream:CID:PORT, as systemd writes it, is the same
//	unix:PATH         a socket in the guest, for datagrams or a stream
//	virtio-port:NAME  a virtio-serial port
//
// The host has CID 2 (vsock(7)). On a stream, each message has its own connection
// (sd_notify(3)). On a virtio-serial port, messages follow each other as lines.
func Parse(s string) (Address, error) {
	network, name, _ := strings.Cut(s, ":")
	switch network {
	case "vsock", "vsock-stream":
		cid, port, _ := strings.Cut(name, ":")
		c, errCID := strconv.ParseUint(cid, 10, 32)
		p, errPort := strconv.ParseUint(port, 10, 32)
		// The highest numbers stand for any (VMADDR_CID_ANY and VMADDR_PORT_ANY).
		if errCID == nil && errPort == nil && c < math.MaxUint32 && p < math.MaxUint32 {
			return Address{network: "vsock", cid: uint32(c), port: uint32(p)}, nil
		}
	case "unix":
		if strings.HasPrefix(name, "/") && len(name) <= maxUnixPath {
			return Address{network: network, name: name}, nil
		}
	case "virtio-port":
		if name != "" {
			return Address{network: network, name: name}, nil
		}
	}
	return Address{}, fmt.Errorf("address %q: not vsock:CID:PORT with numbers below %d, unix:/PATH with at most %d bytes, or virtio-port:NAME",
		s, uint32(math.MaxUint32), maxUnixPath)
}

// String returns the address as Parse reads it; empty for the zero Address.
func (a Address) String() string {
	switch a.network {
	case "":
		return ""
	case "vsock":
		return fmt.Sprintf("%s:%d:%d", a.network, a.cid, a.port)
	}
	return a.network + ":" + a.name
}
