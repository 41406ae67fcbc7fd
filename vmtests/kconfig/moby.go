package kconfig

import (
	"fmt"
	"strings"
)

// Group is a set of symbols that one feature needs.
type Group struct {
	Name string
	// Necessary marks a group without which containers do not run properly.
	Necessary bool
	Symbols   []string
}

// Moby lists the symbols that Moby's contrib/check-config.sh has looked for since Moby 20.10, in a kernel from 6.1 on, for
// both versions of cgroups.
var Moby = []Group{
	{Name: "generally necessary", Necessary: true, Symbols: []string{
		"NAMESPACES", "NET_NS", "PID_NS", "IPC_NS", "UTS_NS",
		"CGROUPS", "CGROUP_SCHED", "CGROUP_BPF",
		"CGROUP_CPUACCT", "CGROUP_DEVICE", "CGROUP_FREEZER", "CPUSETS", "MEMCG",
		"KEYS", "POSIX_MQUEUE",
		"VETH", "BRIDGE", "BRIDGE_NETFILTER",
		"IP_NF_FILTER", "IP_NF_MANGLE", "IP_NF_RAW", "IP_NF_NAT", "IP_NF_TARGET_MASQUERADE",
		"IP6_NF_FILTER", "IP6_NF_MANGLE", "IP6_NF_RAW", "IP6_NF_NAT", "IP6_NF_TARGET_MASQUERADE",
		"NF_NAT", "NETFILTER_XT_MARK",
		"NETFILTER_XT_MATCH_ADDRTYPE", "NETFILTER_XT_MATCH_CONNTRACK", "NETFILTER_XT_MATCH_IPVS",
	}},
	{Name: "optional: isolation", Symbols: []string{"USER_NS", "SECCOMP", "SECCOMP_FILTER", "SECURITY_SELINUX", "SECURITY_APPARMOR"}},
	{Name: "optional: resources", Symbols: []string{
		"CGROUP_PIDS", "CGROUP_HUGETLB", "MEMCG_SWAP",
		"BLK_CGROUP", "BLK_DEV_THROTTLING", "CGROUP_PERF", "NET_CLS_CGROUP", "CGROUP_NET_PRIO",
		"CFS_BANDWIDTH", "FAIR_GROUP_SCHED", "RT_GROUP_SCHED",
	}},
	{Name: "optional: published ports and services", Symbols: []string{
		"IP_NF_TARGET_REDIRECT", "IP_VS", "IP_VS_NFCT", "IP_VS_PROTO_TCP", "IP_VS_PROTO_UDP", "IP_VS_RR",
	}},
	{Name: "optional: ext4 below", Symbols: []string{"EXT4_USE_FOR_EXT2", "EXT4_FS", "EXT4_FS_POSIX_ACL", "EXT4_FS_SECURITY"}},
	{Name: "network driver overlay", Symbols: []string{"VXLAN", "BRIDGE_VLAN_FILTERING"}},
	{Name: "network driver overlay, encrypted", Symbols: []string{
		"CRYPTO", "CRYPTO_AEAD", "CRYPTO_GCM", "CRYPTO_SEQIV", "CRYPTO_GHASH",
		"XFRM", "XFRM_USER", "XFRM_ALGO", "INET_ESP", "NETFILTER_XT_MATCH_BPF",
	}},
	{Name: "network driver ipvlan", Symbols: []string{"IPVLAN"}},
	{Name: "network driver macvlan", Symbols: []string{"MACVLAN", "DUMMY"}},
	{Name: "ftp and tftp clients", Symbols: []string{"NF_NAT_FTP", "NF_CONNTRACK_FTP", "NF_NAT_TFTP", "NF_CONNTRACK_TFTP"}},
	{Name: "storage driver btrfs", Symbols: []string{"BTRFS_FS", "BTRFS_FS_POSIX_ACL"}},
	{Name: "storage driver overlay", Symbols: []string{"OVERLAY_FS"}},
}

// LeftOut has the symbols of Moby that this project's kernel does not set, each with the reason.
var LeftOut = map[string]string{
	"SECURITY_SELINUX":  "policies come with a distribution, and the guest has none",
	"SECURITY_APPARMOR": "profiles are loaded by a program that the guest does not have",
	"MEMCG_SWAP":        "part of MEMCG since Linux 6.1",
	"RT_GROUP_SCHED":    "with it and cgroup v2, real-time programs run in the root group alone",
}

// Check compares a configuration with Moby's list. It returns a table in Markdown that lists the symbols that are set, and
// those that are not, with the reason. wrong has a complaint for each symbol that is not set without a reason in LeftOut, and
// for each symbol of LeftOut that is set.
func Check(c Config) (table string, wrong []string) {
	var b strings.Builder
	b.WriteString("| for | set | not set |\n|---|---|---|\n")
	for _, group := range Moby {
		var set, not []string
		for _, symbol := range group.Symbols {
			why, leftOut := LeftOut[symbol]
			switch {
			case c.BuiltIn(symbol) && !leftOut:
				set = append(set, symbol)
			case c.BuiltIn(symbol):
				wrong = append(wrong, symbol+" is set, but listed in LeftOut")
			case leftOut && !group.Necessary:
				not = append(not, fmt.Sprintf("%s (%s)", symbol, why))
			default:
				not = append(not, symbol)
				wrong = append(wrong, fmt.Sprintf("%s is not set (%s)", symbol, group.Name))
			}
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", group.Name, strings.Join(set, " "), strings.Join(not, ", "))
	}
	return b.String(), wrong
}
