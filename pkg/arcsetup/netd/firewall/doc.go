// Package firewall puts accept rules for forwarded IPv4 packets into the
// kernel's nf_tables, written as iptables-nft writes them itself, so that
// iptables and container engines can list, check and delete them like rules of
// their own. It talks netlink and runs no program. It must not know what the
// links and subnets are for, nor where their names come from.
package firewall
