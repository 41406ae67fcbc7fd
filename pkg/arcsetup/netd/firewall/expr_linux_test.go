package firewall

import (
	"errors"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// The expected expressions are what iptables-nft 1.8.9 sends for the same rule.
func TestExprs(t *testing.T) {
	accept := []expr.Any{&expr.Counter{}, &expr.Verdict{Kind: expr.VerdictAccept}}
	for _, test := range []struct {
		rule Rule
		want []expr.Any
	}{
		{Rule{link: "eth1"}, []expr.Any{
			&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1},
			&expr.Cmp{Register: 1, Data: []byte("eth1\x00")},
		}},
		{Rule{subnet: netip.MustParsePrefix("172.20.0.0/16")}, []expr.Any{
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 12, Len: 2},
			&expr.Cmp{Register: 1, Data: []byte{172, 20}},
		}},
		{Rule{subnet: netip.MustParsePrefix("172.20.16.0/20"), to: true}, []expr.Any{
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 16, Len: 4},
			&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: []byte{255, 255, 240, 0}, Xor: make([]byte, 4)},
			&expr.Cmp{Register: 1, Data: []byte{172, 20, 16, 0}},
		}},
		{Rule{subnet: netip.MustParsePrefix("172.20.1.1/32"), to: true}, []expr.Any{
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 16, Len: 4},
			&expr.Cmp{Register: 1, Data: []byte{172, 20, 1, 1}},
		}},
	} {
		if got, want := test.rule.exprs(), append(test.want, accept...); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %#v, want %#v", test.rule, got, want)
		}
	}
}

func TestKey(t *testing.T) {
	rule := Rule{link: "eth1"}
	base := key(rule.exprs())
	counted := rule.exprs()
	counted[2] = &expr.Counter{Packets: 7, Bytes: 700}
	if key(counted) != base {
		t.Error("a counter's value changes the key")
	}
	padded := rule.exprs()
	padded[1].(*expr.Cmp).Data = append([]byte("eth1"), make([]byte, 12)...)
	if key(padded) != base {
		t.Error("a padded link name changes the key")
	}
	for _, other := range []Rule{{link: "eth10"}, {link: "eth"}, {link: "eth1", to: true}, {link: "eth1", established: true}} {
		if key(other.exprs()) == base {
			t.Errorf("%s has the key of %s", other, rule)
		}
	}
	wildcard := rule.exprs()
	wildcard[1].(*expr.Cmp).Data = []byte("eth1")
	if key(wildcard) == base {
		t.Error("eth1+ has the key of eth1")
	}
}

// Each refusal of the kernel's names the symbols to enable.
func TestExplain(t *testing.T) {
	bridge := BridgeRules("eth1")
	for _, test := range []struct {
		err  error
		want string
	}{
		{explainList(unix.EPROTONOSUPPORT), "CONFIG_NF_TABLES,"},
		{explainList(unix.EINVAL), "CONFIG_NF_TABLES,"},
		{explain(unix.EOPNOTSUPP, nil), "CONFIG_NF_TABLES_IPV4"},
		{explain(unix.ENOENT, bridge), "CONFIG_NFT_COMPAT"},
	} {
		if !strings.Contains(test.err.Error(), test.want) {
			t.Errorf("%v: want %s in it", test.err, test.want)
		}
	}
	if err := explain(unix.ENOENT, bridge); !errors.Is(err, errNoConntrack) || !errors.Is(err, unix.ENOENT) {
		t.Errorf("%v is not a missing conntrack match", err)
	}
	for _, err := range []error{explainList(unix.EPERM), explain(unix.EPERM, bridge), explain(unix.ENOENT, bridge[:1])} {
		if strings.Contains(err.Error(), "CONFIG_") {
			t.Errorf("%v names a kernel symbol", err)
		}
	}
}

// A rule that check accepts can be marshalled.
func FuzzExprs(f *testing.F) {
	f.Add("eth1", uint32(0xac140000), 16)
	f.Add("fifteenbyte1234", uint32(0xac140101), 32)
	f.Add(`e.1-@"'é+`, uint32(0), 1)
	f.Add("", uint32(1<<31), 0)
	f.Fuzz(func(t *testing.T, link string, addr uint32, bits int) {
		ip := netip.AddrFrom4([4]byte{byte(addr >> 24), byte(addr >> 16), byte(addr >> 8), byte(addr)})
		for _, r := range append(BridgeRules(link), SandboxRules(netip.PrefixFrom(ip, bits))...) {
			if r.check() == nil && key(r.exprs()) == "" {
				t.Errorf("%s cannot be written", r)
			}
		}
	})
}
