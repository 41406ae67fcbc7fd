package netd

import (
	"fmt"
	"net"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"github.com/insomniacslk/dhcp/dhcpv4/server4"
	"github.com/mdlayher/packet"
	"github.com/vishvananda/netlink"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// listen opens the DHCP client's port of a link, and returns the address to send to. To
// talk to one server, it is a UDP socket, which also gets broadcasts: some servers answer
// so. Without a server, it is a packet socket, which needs no address on the link.
func listen(link netlink.Link, server net.IP) (net.PacketConn, *net.UDPAddr, error) {
	port := &net.UDPAddr{Port: dhcpv4.ClientPort}
	if server != nil {
		conn, err := server4.NewIPv4UDPConn(link.Attrs().Name, port)
		return conn, &net.UDPAddr{IP: server, Port: dhcpv4.ServerPort}, err
	}
	filter, err := bpf.Assemble(dhcpAnswers)
	if err != nil {
		return nil, nil, fmt.Errorf("filter DHCP messages: %w", err)
	}
	conn, err := listenPackets(link, unix.ETH_P_IP, filter)
	if err != nil {
		return nil, nil, fmt.Errorf("listen for DHCP messages on %s: %w", link.Attrs().Name, err)
	}
	return nclient4.NewBroadcastUDPConn(conn, port), nclient4.DefaultServers, nil
}

// listenPackets opens a socket for those packets of a protocol on link that pass
// filter, without their link-layer headers.
func listenPackets(link netlink.Link, protocol int, filter []bpf.RawInstruction) (*packet.Conn, error) {
	a := link.Attrs()
	return packet.Listen(&net.Interface{Index: a.Index, Name: a.Name, HardwareAddr: a.HardwareAddr},
		packet.Datagram, protocol, &packet.Config{Filter: filter})
}

// dhcpAnswers passes UDP datagrams to the port of a DHCP client, so that nothing
// else wakes the client. Of a fragmented datagram it passes the first part. The
// offsets are from RFC 791 section 3.1 and RFC 768.
var dhcpAnswers = []bpf.Instruction{
	bpf.LoadAbsolute{Off: 0, Size: 1}, // version and header length
	bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 0xf0},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 0x40, SkipTrue: 8},
	bpf.LoadAbsolute{Off: 9, Size: 1}, // protocol
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.IPPROTO_UDP, SkipTrue: 6},
	bpf.LoadAbsolute{Off: 6, Size: 2}, // fragment offset
	bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: 0x1fff, SkipTrue: 4},
	bpf.LoadMemShift{Off: 0},          // the header's length
	bpf.LoadIndirect{Off: 2, Size: 2}, // destination port
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: dhcpv4.ClientPort, SkipTrue: 1},
	bpf.RetConstant{Val: 1<<16 - 1}, // bytes: all
	bpf.RetConstant{Val: 0},
}
