package dhcppeer

import (
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
