package dhcppeer

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// Exchange is a message of the guest and the server's replies to it.
type Exchange struct {
	Message
	Replies []Reply

	server netip.Prefix
	lease  Lease
	random *rand.Rand
}

// Fault changes the replies to a message before they are sent, as a bad server or network
// would. Peer.Behave applies faults in order. Only one fault runs at a time, so a fault may
// keep state.
type Fault func(*Exchange)

// Silent makes the server ignore all messages.
func Silent(e *Exchange) { e.Replies = nil }

// Vanish makes the server ignore every REQUEST.
func Vanish(e *Exchange) {
	if e.MessageType() == dhcpv4.MessageTypeRequest {
		e.Replies = nil
	}
}

// Refuse makes the server answer every REQUEST with NAK.
func Refuse(e *Exchange) {
	if e.MessageType() == dhcpv4.MessageTypeRequest {
		e.Replies = []Reply{e.Reply(dhcpv4.MessageTypeNak)}
	}
}

// Readdress makes the server answer every REQUEST with the address of its lease, even if the
// client asks for another address.
func Readdress(e *Exchange) {
	if e.MessageType() == dhcpv4.MessageTypeRequest {
		e.Replies = []Reply{e.Reply(dhcpv4.MessageTypeAck)}
	}
}

// Flood makes the server answer a DISCOVER with that many offers: first of its lease's
// address, then of the addresses after it.
func Flood(offers int) Fault {
	return func(e *Exchange) {
		if e.Kind != Discover {
			return
		}
		e.Replies = nil
		for address := e.lease.Client; len(e.Replies) < offers; address = address.Next() {
			e.Replies = append(e.Replies, e.Reply(dhcpv4.MessageTypeOffer, dhcpv4.WithYourIP(net.IP(address.AsSlice()))))
		}
	}
}

// Delay sends each reply later.
func Delay(d time.Duration) Fault {
	return func(e *Exchange) {
		for i := range e.Replies {
			e.Replies[i].After += d
		}
	}
}

// Lose loses that share of the messages, from 0 to 1, in each direction. The peer still
// records a lost message of the guest.
func Lose(share float64) Fault {
	return func(e *Exchange) {
		lost := func() bool { return e.random.Float64() < share }
		if lost() {
			e.Replies = nil
		}
		e.Replies = slices.DeleteFunc(e.Replies, func(Reply) bool { return lost() })
	}
}

// Duplicate sends each reply twice.
func Duplicate(e *Exchange) {
	var twice []Reply
	for _, r := range e.Replies {
		twice = append(twice, r, r)
	}
	e.Replies = twice
}

// Reorder sends the replies to every other message after the replies to the next message.
func Reorder() Fault {
	var held []Reply
	return func(e *Exchange) {
		if len(held) == 0 {
			held, e.Replies = e.Replies, nil
			return
		}
		held, e.Replies = nil, append(e.Replies, held...)
	}
}

// Rewrite replaces each reply with what f returns. f may keep reply, and must not change it.
func Rewrite(f func(request *dhcpv4.DHCPv4, reply []byte) []byte) Fault {
	return func(e *Exchange) {
		for i, r := range e.Replies {
			e.Replies[i].Payload = f(e.DHCPv4, r.Payload)
		}
	}
}

// On applies a fault to messages of those kinds only.
func On(fault Fault, kinds ...Kind) Fault {
	return func(e *Exchange) {
		if slices.Contains(kinds, e.Kind) {
			fault(e)
		}
	}
}

// Broadcast sends each reply to all hosts, even if the guest could get it alone.
func Broadcast(e *Exchange) {
	for i := range e.Replies {
		e.Replies[i].address, e.Replies[i].mac = broadcastAddress, broadcastMAC
	}
}

// From sends each reply from another address than the server's.
func From(sender netip.Addr) Fault {
	return func(e *Exchange) {
		for i := range e.Replies {
			e.Replies[i].From = sender
		}
	}
}

// Unfinished leaves the UDP checksums to a NIC that does not fill them in.
func Unfinished(e *Exchange) {
	for i := range e.Replies {
		e.Replies[i].Unfinished = true
	}
}

// Repack makes other packets of each reply's packet, as Reply.Repack says.
func Repack(f func(packet []byte) [][]byte) Fault {
	return func(e *Exchange) {
		for i := range e.Replies {
			e.Replies[i].Repack = f
		}
	}
}

// Unchecked is for Repack. It removes the UDP checksum, which RFC 768 allows.
func Unchecked(packet []byte) [][]byte {
	binary.BigEndian.PutUint16(packet[ipv4Header+udpChecksum:], 0)
	return [][]byte{packet}
}

// Trailed is for Repack. It adds bytes to the frame after the packet, as switches do.
func Trailed(packet []byte) [][]byte { return [][]byte{append(packet, junk...)} }

// Surplus is for Repack. It adds bytes to the packet that the UDP datagram in it does not have.
func Surplus(packet []byte) [][]byte { return [][]byte{sealed(append(packet, junk...))} }

const junk = "these bytes are not of the message"

// HeaderOptions is for Repack. It adds options to the packet's header: three that do nothing, and the end (RFC 791 section 3.1).
func HeaderOptions(packet []byte) [][]byte {
	packet = slices.Concat(packet[:ipv4Header], []byte{1, 1, 1, 0}, packet[ipv4Header:])
	packet[0]++
	return [][]byte{sealed(packet)}
}

// Fragments is for Repack. It splits the packet into fragments with at most that many bytes, a multiple of 8, after the header.
func Fragments(size int) func(packet []byte) [][]byte {
	const more = 1 << 13 // fragments follow (RFC 791 section 3.1)
	return func(packet []byte) (fragments [][]byte) {
		for at, rest := 0, packet[ipv4Header:]; len(rest) > 0; at += size {
			n, flags := min(size, len(rest)), uint16(at/8)
			if n < len(rest) {
				flags |= more
			}
			fragment := slices.Concat(packet[:ipv4Header], rest[:n])
			binary.BigEndian.PutUint16(fragment[6:], flags)
			fragments, rest = append(fragments, sealed(fragment)), rest[n:]
		}
		return fragments
	}
}

// Offsets of fields in bytes (RFC 2131 section 2), the cookie among the options.
const (
	snameOffset   = 44
	fileOffset    = 108
	cookieOffset  = 236
	optionsOffset = 240
)

// Raw replaces the options of each OFFER and ACK with what f makes of them. The options end with option 255.
func Raw(f func(options []byte) []byte) Fault {
	return func(e *Exchange) {
		for i, r := range e.Replies {
			if r.Type != dhcpv4.MessageTypeNak {
				e.Replies[i].Payload = append(bytes.Clone(r.Payload[:optionsOffset]), f(bytes.Clone(r.Payload[optionsOffset:]))...)
			}
		}
	}
}

// Overload moves options of OFFER and ACK to the fields file and sname (RFC 2132 section 9.3). A nil list leaves its field alone.
func Overload(file, sname []dhcpv4.OptionCode) Fault {
	return func(e *Exchange) {
		for i, r := range e.Replies {
			m, err := dhcpv4.FromBytes(r.Payload)
			if err != nil || r.Type == dhcpv4.MessageTypeNak {
				continue
			}
			used := byte(0)
			move := func(codes []dhcpv4.OptionCode, bit byte) (moved []byte) {
				options := dhcpv4.Options{}
				for _, code := range codes {
					options.Update(dhcpv4.OptGeneric(code, m.Options.Get(code)))
					m.Options.Del(code)
					used |= bit
				}
				return append(options.ToBytes(), dhcpv4.OptionEnd.Code())
			}
			inFile, inName := move(file, 1), move(sname, 2)
			m.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionOptionOverload, []byte{used}))
			payload := m.ToBytes()
			if used&1 != 0 {
				copy(payload[fileOffset:cookieOffset], inFile)
			}
			if used&2 != 0 {
				copy(payload[snameOffset:fileOffset], inName)
			}
			e.Replies[i].Payload = payload
		}
	}
}

// Pieces sends the option in pieces of at most that many bytes, the first before all other options and the rest after them (RFC 3396).
func Pieces(code dhcpv4.OptionCode, size int) Fault {
	return func(e *Exchange) {
		for i, r := range e.Replies {
			m, err := dhcpv4.FromBytes(r.Payload)
			if err != nil || !m.Options.Has(code) {
				continue
			}
			var pieces [][]byte
			for piece := range slices.Chunk(m.Options.Get(code), size) {
				pieces = append(pieces, append([]byte{code.Code(), byte(len(piece))}, piece...))
			}
			m.Options.Del(code)
			payload := m.ToBytes()
			options := m.Options.ToBytes()
			e.Replies[i].Payload = slices.Concat(payload[:optionsOffset], pieces[0], options, slices.Concat(pieces[1:]...),
				[]byte{dhcpv4.OptionEnd.Code()})
		}
	}
}
