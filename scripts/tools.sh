#!/usr/bin/env bash
# tools.sh DIR lays out in DIR/iptables and DIR/ip the distribution's programs of these names, for guests that have no other
# file of the distribution:
#
#	XTABLES_LIBDIR=DIR/iptables/lib/xtables
#	DIR/iptables/ld.so --library-path DIR/iptables/lib DIR/iptables/bin/xtables-nft-multi iptables -S
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/debs.sh"

update_apt
lay_out "$1/iptables" iptables xtables-nft-multi
lay_out "$1/ip" iproute2 ip
