#!/usr/bin/env bash
# stress.sh DIR puts the distribution's stress-ng into DIR. It runs in guests with no other file of the distribution:
#
#	DIR/ld.so --library-path DIR/lib DIR/bin/stress-ng --vm 1
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/debs.sh"

update_apt
lay_out "$1" stress-ng stress-ng
