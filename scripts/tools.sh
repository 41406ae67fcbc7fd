#!/usr/bin/env bash
# tools.sh DIR puts the distribution's iptables, ip, mke2fs and e2fsck into DIR/iptables, DIR/ip and DIR/e2fs, and the iptables
# of newer releases into DIR/iptables-SUITE. They run in guests with no other file of the distribution:
#
#	XTABLES_LIBDIR=DIR/iptables/lib/xtables
#	DIR/iptables/ld.so --library-path DIR/iptables/lib DIR/iptables/bin/xtables-nft-multi iptables -S
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/debs.sh"

update_apt
lay_out "$1/iptables" iptables xtables-nft-multi xtables-legacy-multi
lay_out "$1/ip" iproute2 ip
lay_out "$1/e2fs" e2fsprogs mke2fs e2fsck

# Versions differ in how they write and read rules: Debian 12 has 1.8.9, trixie 1.8.11, sid 1.8.13 or newer; Ubuntu 24.04
# has 1.8.10.
case $DISTRIBUTION in
debian) suites="trixie sid" ;;
ubuntu) suites=resolute ;;
*) suites= ;;
esac
for suite in $suites; do
	use_suite "$suite"
	lay_out "$1/iptables-$suite" iptables xtables-nft-multi
done
