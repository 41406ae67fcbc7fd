package firewall

import (
	"bytes"
	"net"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
	"golang.org/x/sys/unix"
)

// Bits of connection states in the conntrack match: XT_CONNTRACK_STATE_BIT of
// linux/netfilter/xt_conntrack.h for IP_CT_ESTABLISHED (0) and IP_CT_RELATED (1).
const (
	stateEstablished = 1 << 1
	stateRelated     = 1 << 2
)

// exprs returns the expressions that iptables-nft writes for r, in the same order. With other expressions for the same
// packets, iptables would call the whole table incompatible, and container engines run iptables.
func (r Rule) exprs() []expr.Any {
	var es []expr.Any
	verdict := expr.VerdictAccept
	switch {
	case r.guard:
		es = append(matchPrefix(16, r.subnet), matchLinks(expr.MetaKeyIIFNAME, r.link)...)
		if r.drop {
			verdict = expr.VerdictDrop
		}
	case r.link != "" && r.to:
		es = matchLink(expr.MetaKeyOIFNAME, r.link)
	case r.link != "":
		es = matchLink(expr.MetaKeyIIFNAME, r.link)
	case r.to:
		es = matchPrefix(16, r.subnet)
	default:
		es = matchPrefix(12, r.subnet)
	}
	if r.established {
		es = append(es, matchEstablished())
	}
	return append(es, &expr.Counter{}, &expr.Verdict{Kind: verdict})
}

// matchLink compares a link's name, including the final NUL. Without the NUL, the rule would match every link whose name begins so.
func matchLink(key expr.MetaKey, name string) []expr.Any { return matchLinks(key, name+"\x00") }

// matchLinks compares the beginning of a link's name.
func matchLinks(key expr.MetaKey, name string) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: key, Register: unix.NFT_REG_1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: unix.NFT_REG_1, Data: []byte(name)},
	}
}

// matchPrefix compares the address at an offset in the IPv4 header, in bytes: the source is at 12, the destination at 16 (RFC 791 section
// 3.1). A prefix of whole bytes loads only these bytes. Any other prefix loads the whole address and masks it.
func matchPrefix(offset uint32, p netip.Prefix) []expr.Any {
	addr, bits := p.Addr().As4(), p.Bits()
	if bits%8 == 0 {
		n := bits / 8
		return []expr.Any{
			&expr.Payload{DestRegister: unix.NFT_REG_1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: uint32(n)},
			&expr.Cmp{Op: expr.CmpOpEq, Register: unix.NFT_REG_1, Data: addr[:n]},
		}
	}
	return []expr.Any{
		&expr.Payload{DestRegister: unix.NFT_REG_1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: 4},
		&expr.Bitwise{SourceRegister: unix.NFT_REG_1, DestRegister: unix.NFT_REG_1, Len: 4, Mask: net.CIDRMask(bits, 32), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: unix.NFT_REG_1, Data: addr[:]},
	}
}

// matchEstablished is `-m conntrack --ctstate RELATED,ESTABLISHED`. It uses the xt
// match, since iptables 1.8.9 and 1.8.11 refuse nf_tables' own ct expression.
func matchEstablished() expr.Any {
	var info xt.ConntrackMtinfo3
	info.MatchFlags = uint16(xt.ConntrackState)
	info.StateMask = stateEstablished | stateRelated
	return &expr.Match{Name: "conntrack", Rev: 3, Info: &info}
}

// key returns the same string for two lists of expressions that have the same verdict for the same packets. Counters are ignored.
func key(exprs []expr.Any) string {
	var k []byte
	linkName := false
	for _, e := range exprs {
		switch e := e.(type) {
		case *expr.Counter:
			continue
		case *expr.Cmp:
			// nft pads a link's name with NULs to IFNAMSIZ.
			if i := bytes.IndexByte(e.Data, 0); linkName && i >= 0 {
				e.Data = e.Data[:i+1]
			}
		}
		meta, ok := e.(*expr.Meta)
		linkName = ok && (meta.Key == expr.MetaKeyIIFNAME || meta.Key == expr.MetaKeyOIFNAME)
		b, err := expr.Marshal(byte(nftables.TableFamilyIPv4), e)
		if err != nil {
			return "" // not a rule of Apply's
		}
		k = append(k, b...)
	}
	return string(k)
}
