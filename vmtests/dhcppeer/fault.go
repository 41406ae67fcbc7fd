package dhcppeer

import (
	"bytes"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// Exchange is a message of the guest's and the server's replies to it.
type Exchange struct {
	Message
	Replies []Reply

	server netip.Prefix
	lease  Lease
	random *rand.Rand
}

// Fault is something that goes wrong, at the server or on the way: it changes the
// replies to a message before they are sent. Peer.Behave puts faults one behind
// the other. They run one at a time, so that a fault may remember things.
type Fault func(*Exchange)

// Silent servers hear and say nothing.
func Silent(e *Exchange) { e.Replies = nil }

// Vanish has the server make offers, and say nothing to those who take one.
func Vanish(e *Exchange) {
	if e.MessageType() == dhcpv4.MessageTypeRequest {
		e.Replies = nil
	}
}

// Refuse has the server answer NAK to every REQUEST.
func Refuse(e *Exchange) {
	if e.MessageType() == dhcpv4.MessageTypeRequest {
		e.Replies = []Reply{e.Reply(dhcpv4.MessageTypeNak)}
	}
}

// Readdress has the server answer every REQUEST with the address that it leases,
// also where the client asks for another.
func Readdress(e *Exchange) {
	if e.MessageType() == dhcpv4.MessageTypeRequest {
		e.Replies = []Reply{e.Reply(dhcpv4.MessageTypeAck)}
	}
}

// Flood has the server make that many offers to one DISCOVER: that of its lease
// first, then each of the address after the last.
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

// Delay has each reply sent so much later.
func Delay(d time.Duration) Fault {
	return func(e *Exchange) {
		for i := range e.Replies {
			e.Replies[i].After += d
		}
	}
}

// Lose loses that share of the messages, from 0 to 1, in each direction. The peer
// still counts what the guest has sent.
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

// Reorder keeps every other message's replies back, until those to the message
// after it have overtaken them.
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

// Corrupt changes so many bytes of each reply, the checksums being right for what
// they have become.
func Corrupt(n int) Fault {
	return func(e *Exchange) {
		for i, r := range e.Replies {
			b := bytes.Clone(r.Payload)
			for _, at := range e.random.Perm(len(b))[:min(n, len(b))] {
				b[at] ^= byte(1 + e.random.IntN(255))
			}
			e.Replies[i].Payload = b
		}
	}
}

// Truncate leaves at most the first n bytes of each reply.
func Truncate(n int) Fault {
	return Rewrite(func(_ *dhcpv4.DHCPv4, reply []byte) []byte { return reply[:min(n, len(reply))] })
}

// Insert puts bytes before the end option of each reply, as options that need not
// be any; where there is no end, after all else.
func Insert(options ...byte) Fault {
	return Rewrite(func(_ *dhcpv4.DHCPv4, reply []byte) []byte {
		end := bytes.LastIndexByte(reply, dhcpv4.OptionEnd.Code())
		if end < 0 {
			end = len(reply)
		}
		return slices.Concat(reply[:end], options, reply[end:])
	})
}

// Rewrite sends what f makes of each reply's DHCP message. f may keep reply, and
// must not write to it.
func Rewrite(f func(request *dhcpv4.DHCPv4, reply []byte) []byte) Fault {
	return func(e *Exchange) {
		for i, r := range e.Replies {
			e.Replies[i].Payload = f(e.DHCPv4, r.Payload)
		}
	}
}

// On has a fault happen only to the replies to messages of those kinds.
func On(fault Fault, kinds ...Kind) Fault {
	return func(e *Exchange) {
		if slices.Contains(kinds, e.Kind) {
			fault(e)
		}
	}
}

// Sometimes has a fault happen only to the replies to that share of the messages,
// from 0 to 1.
func Sometimes(share float64, fault Fault) Fault {
	return func(e *Exchange) {
		if e.random.Float64() < share {
			fault(e)
		}
	}
}
