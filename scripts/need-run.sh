#!/usr/bin/env bash
# need-run.sh DIR KERNEL MODULES checks what `make run` needs, before anything is downloaded or built: Go, the packages that guests
# need, a kernel and space. Each problem is one line that says what to do. DIR is the directory of the guest's images.
. "$(dirname "$0")/lib.sh"

dir=$1 kernel=$2 modules=$3

need_go
scripts/need-guests.sh check

if [ -z "$kernel" ]; then
	command -v apt-get >/dev/null || die "no kernel in $MACHINE/boot or $MACHINE/lib/modules: name one with KERNEL=path MODULES=directory"
else
	[ -r "$kernel" ] || die "KERNEL=$kernel cannot be read"
	[ -z "$modules" ] || [ -e "$modules/modules.dep.bin" ] || die "MODULES=$modules has no modules.dep.bin, which depmod writes"
	say "the guest's kernel is $kernel${modules:+, with the modules in $modules}"
fi

# What a first run writes, in MB: build, the packages, Go's caches, temporary files. They may be on the same disk.
[ ! -e "$dir/initramfs-modules.cpio" ] || exit 0
places=() # df needs directories that exist
for place in "$PWD" "$CACHE" "$(go env GOCACHE)" "$(go env GOMODCACHE)" "${TMPDIR:-/tmp}"; do
	while [ ! -d "$place" ]; do place=$(dirname "$place"); done
	places+=("$place")
done
lacking=$(df -Pk "${places[@]}" | awk -v needed="200 100 450 600 300" '
	BEGIN { split(needed, megabytes) }
	NR > 1 { need[$1] += megabytes[NR - 1]; free[$1] = int($4 / 1024); on[$1] = $NF }
	END { for (disk in need) if (free[disk] < need[disk]) printf " %s needs %d MB and has %d;", on[disk], need[disk], free[disk] }')
[ -z "$lacking" ] || die "not enough space:$lacking make room, or set TMPDIR, ARCINIT_CACHE, GOCACHE or GOMODCACHE to another disk"
