#!/bin/sh
# root.sh AGENT FILE makes FILE, a root disk with AGENT as /bin/agent and with arcinit.toml. AGENT is a static program.
set -eu
here=$(dirname "$0")
temp=$(mktemp -d)
trap 'rm -rf "$temp"' EXIT
root=$temp/root
mkdir -p "$root/bin" "$root/dev" "$root/etc" "$root/mnt/data" "$root/proc" "$root/run" "$root/sys" "$root/tmp" "$root/var"
install -m 755 "$1" "$root/bin/agent"
install -m 644 "$here/arcinit.toml" "$root/etc/arcinit.toml"
mkfs.erofs --quiet --all-root "$2" "$root"
