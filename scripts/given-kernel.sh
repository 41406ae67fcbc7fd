#!/usr/bin/env bash
# given-kernel.sh DIR KERNEL [MODULES] lays out a kernel of the user's as kernel.sh does the distribution's. MODULES is a directory
# as /lib/modules/VERSION; a kernel that has all its drivers built in needs none.
. "$(dirname "$0")/lib.sh"

dir=$1 kernel=$2 modules=${3:-}

rm -rf "$dir"
mkdir -p "$dir"
cp "$kernel" "$dir/vmlinuz"
chmod 644 "$dir/vmlinuz"
[ -n "$modules" ] || exit 0
mkdir "$dir/lib" "$dir/lib/modules"
ln -s "$(realpath "$modules")" "$dir/lib/modules/"
