// Package firewall puts accept rules for forwarded IPv4 packets into the kernel's
// nf_tables. It writes the rules as iptables-nft does, so that iptables and
// container engines can list, check and delete them. It talks netlink and runs no
// program. It must not know which role a link has, or who chose a subnet.
package firewall
