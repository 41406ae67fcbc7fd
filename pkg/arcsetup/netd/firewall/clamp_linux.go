package firewall

import (
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// ClampSegments makes forwarded TCP connections agree on segments that fit the MTU of their routes, in both directions, as iptables' TCPMSS
// --clamp-mss-to-pmtu does. The rule drops and accepts nothing, so it is in a table of its own, `inet arcinit`. A second call changes nothing.
func ClampSegments() error {
	const (
		flags, syn, rst = 13, 0x02, 0x04 // the offset of the TCP header's flags in bytes, and two of them (RFC 9293 section 3.1)
		maxSegment      = 2              // the option's number, and the offset of its value (RFC 9293 section 3.2)
	)
	conn, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open a netfilter socket: %w", err)
	}
	table := conn.AddTable(&nftables.Table{Name: "arcinit", Family: nftables.TableFamilyINet})
	chain := conn.AddChain(&nftables.Chain{
		Name: "forward", Table: table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityMangle,
	})
	conn.FlushChain(chain)
	conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: unix.NFT_REG_1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: unix.NFT_REG_1, Data: []byte{unix.IPPROTO_TCP}},
		&expr.Payload{DestRegister: unix.NFT_REG_1, Base: expr.PayloadBaseTransportHeader, Offset: flags, Len: 1},
		&expr.Bitwise{SourceRegister: unix.NFT_REG_1, DestRegister: unix.NFT_REG_1, Len: 1, Mask: []byte{syn | rst}, Xor: []byte{0}},
		&expr.Cmp{Op: expr.CmpOpEq, Register: unix.NFT_REG_1, Data: []byte{syn}},
		&expr.Rt{Register: unix.NFT_REG_1, Key: expr.RtTCPMSS},
		&expr.Byteorder{SourceRegister: unix.NFT_REG_1, DestRegister: unix.NFT_REG_1, Op: expr.ByteorderHton, Len: 2, Size: 2},
		// The kernel only ever makes the option smaller (nft_exthdr_tcp_set_eval).
		&expr.Exthdr{SourceRegister: unix.NFT_REG_1, Type: maxSegment, Offset: maxSegment, Len: 2, Op: expr.ExthdrOpTcpopt},
	}})
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("add the table inet arcinit: %w", err)
	}
	return nil
}
