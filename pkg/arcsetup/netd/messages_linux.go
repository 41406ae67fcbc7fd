package netd

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"sync"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/mdlayher/packet"
	"github.com/vishvananda/netlink"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// counter counts the DHCP messages of one link as they pass on it. The client
// library does not tell how often it sends, nor what it ignores.
type counter struct {
	mu       sync.Mutex
	messages Messages
	// last is closed when the last listener, if there was one, counts no more.
	last chan struct{}
}

// maxMessage is the longest IPv4 packet, in bytes.
const maxMessage = 1<<16 - 1

// listen counts until stop is called, on a goroutine that run starts, and calls
// counted when all is counted that had passed by then. It is not done for the
// link's whole life, since it costs time for each packet there is. The listener
// before, which must have been stopped, counts to its end first: no message is
// counted twice.
func (c *counter) listen(link netlink.Link, run func(func()), counted func()) (stop func(), err error) {
	if c.last != nil {
		<-c.last
	}
	filter, err := bpf.Assemble(dhcpMessages)
	if err != nil {
		return nil, fmt.Errorf("count DHCP messages: %w", err)
	}
	own := link.Attrs().HardwareAddr
	// Only a socket for all protocols sees what this machine sends.
	conn, err := listenPackets(link, unix.ETH_P_ALL, filter)
	if err != nil {
		return nil, fmt.Errorf("count DHCP messages: %w", err)
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("count DHCP messages: %w", err), conn.Close())
	}
	last := make(chan struct{})
	c.last = last
	run(func() {
		// Closing waits for all processors to be done with the socket, for
		// which nobody else should wait.
		defer conn.Close() //nolint:errcheck // nothing was written to it
		defer close(last)
		b := make([]byte, maxMessage)
		for {
			n, _, err := conn.ReadFrom(b)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err == nil {
				c.count(b[:n], own)
			} else if !errors.Is(err, unix.ENETDOWN) {
				return
			}
		}
		_ = raw.Control(func(fd uintptr) {
			for {
				n, _, err := unix.Recvfrom(int(fd), b, unix.MSG_DONTWAIT)
				if err != nil {
					return
				}
				c.count(b[:n], own)
			}
		})
		counted()
	})
	return func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) }, nil
}

// listenPackets opens a socket for the packets of a protocol on link, without
// their link-layer headers, as far as filter lets them through.
func listenPackets(link netlink.Link, protocol int, filter []bpf.RawInstruction) (*packet.Conn, error) {
	a := link.Attrs()
	return packet.Listen(&net.Interface{Index: a.Index, Name: a.Name, HardwareAddr: a.HardwareAddr},
		packet.Datagram, protocol, &packet.Config{Filter: filter})
}

// count counts a message in an IPv4 packet that dhcpMessages let through.
func (c *counter) count(ip []byte, own net.HardwareAddr) {
	const ipHeader, udpHeader = 20, 8 // bytes, at least
	if len(ip) < ipHeader {
		return
	}
	// What follows the packet in its frame is padding.
	end := min(int(binary.BigEndian.Uint16(ip[2:])), len(ip))
	start := min(int(ip[0]&0xf)*4+udpHeader, end)
	m, err := dhcpv4.FromBytes(ip[start:end])
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err != nil:
		c.messages.Malformed++
	case !bytes.Equal(m.ClientHWAddr, own):
		// Another client's.
	case m.OpCode == dhcpv4.OpcodeBootRequest:
		c.messages.Sent = increment(c.messages.Sent, m.MessageType())
	case m.OpCode == dhcpv4.OpcodeBootReply:
		c.messages.Received = increment(c.messages.Received, m.MessageType())
	}
}

func increment(counts map[string]int, t dhcpv4.MessageType) map[string]int {
	if counts == nil {
		counts = make(map[string]int)
	}
	counts[t.String()]++
	return counts
}

// read returns what has been counted so far.
func (c *counter) read() Messages {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.messages
	m.Sent, m.Received = maps.Clone(m.Sent), maps.Clone(m.Received)
	return m
}

// dhcpMessages lets UDP datagrams to the ports of a DHCP server or client
// through, first fragments among them: offsets in the headers of RFC 791 section
// 3.1 and RFC 768.
var dhcpMessages = []bpf.Instruction{
	bpf.LoadAbsolute{Off: 0, Size: 1}, // version and header length
	bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 0xf0},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 0x40, SkipTrue: 9},
	bpf.LoadAbsolute{Off: 9, Size: 1}, // protocol
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.IPPROTO_UDP, SkipTrue: 7},
	bpf.LoadAbsolute{Off: 6, Size: 2}, // fragment offset
	bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: 0x1fff, SkipTrue: 5},
	bpf.LoadMemShift{Off: 0},          // the header's length
	bpf.LoadIndirect{Off: 2, Size: 2}, // destination port
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: dhcpv4.ServerPort, SkipTrue: 1},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: dhcpv4.ClientPort, SkipTrue: 1},
	bpf.RetConstant{Val: maxMessage},
	bpf.RetConstant{Val: 0},
}
