#!/usr/bin/env bash
# iptables.sh DIR lays out in DIR the distribution's iptables, to be run in a guest:
#
#	XTABLES_LIBDIR=DIR/lib/xtables DIR/ld.so --library-path DIR/lib DIR/usr/sbin/xtables-nft-multi iptables -S
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/debs.sh"

update_apt
lay_out "$1" iptables usr/sbin/xtables-nft-multi
