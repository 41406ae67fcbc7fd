#!/usr/bin/env bash
# reference.sh DIR makes the guest that `make bench` compares arcinit with, and the agent of both:
#
#	disk.erofs   a container VM's own disk, with busybox, iptables-legacy, and the script /sbin/init
#	setup        the program that /sbin/init starts from the share; it sets the guest up as the reference does
#	stopwatch    the agent
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/debs.sh"
. "$(dirname "$0")/disks.sh"

dir=$1 source=vmtests/bench/reference

case $ARCH in
amd64) gnu=x86_64-linux-gnu ;;
arm64) gnu=aarch64-linux-gnu ;;
*) die "no reference for ARCH=$ARCH: only amd64 and arm64" ;;
esac

need erofs-utils mkfs.erofs
need gcc gcc
need "gcc-${gnu/_/-}" "$gnu-gcc"

mkdir -p "$dir" "$CACHE/reference"
temp=$(mktemp -d "$CACHE/reference/make.XXXXXX")
trap 'rm -rf "$temp"' EXIT

# script NAME FILE prints a C declaration of the file's text.
script() {
	printf 'const char %s[] =\n' "$1"
	sed 's/[\\"]/\\&/g; s/.*/"&\\n"/' "$2"
	echo ';'
}

update_apt
mapfile -t packages < <(with_dependencies iptables)
debs=$(download busybox-static "${packages[@]}")
libc=$(download musl-dev linux-libc-dev)

# musl keeps the program small, so the guest reads it quickly from the share.
for deb in $libc; do
	dpkg -x "$deb" "$temp/libc"
done
specs=$(find "$temp/libc" -name musl-gcc.specs)
sed -i "s|/usr/|$temp/libc/usr/|g" "$specs"
compile() {
	"$gnu-gcc" -specs "$specs" -std=c11 -Wall -Wextra -Werror -O2 -static -s -Wl,-z,max-page-size=4096 \
		-idirafter "$temp/libc/usr/include" -idirafter "$temp/libc/usr/include/$gnu" -o "$@"
}
{
	script primary_script "$source/primary"
	script bridge_script "$source/bridge"
} >"$temp/scripts.c"
compile "$temp/setup" "$source/setup.c" "$temp/scripts.c"
compile "$temp/stopwatch" "$source/stopwatch.c"
mv "$temp/setup" "$temp/stopwatch" "$dir/"

# lay_out_reference ROOT lays out the disk's files.
lay_out_reference() {
	local root=$1 file
	say "laying out the reference's disk"
	lay_out_root "$root" ./etc <<<"$debs"
	ln -s busybox "$root/bin/sh"
	find "$root/usr/sbin" -mindepth 1 ! -name 'xtables-*-multi' -delete
	# iptables-nft takes as long as legacy (docs/benchmarks.md).
	ln -s xtables-legacy-multi "$root/sbin/iptables"
	install -m 755 "$source/init" "$root/sbin/init"
	for file in bin/busybox sbin/iptables sbin/init; do
		[ -x "$root/$file" ] || die "no ${file##*/} in busybox-static ${packages[*]}"
	done
}

# The .debs are named by their content.
{ cat "$0" scripts/disks.sh "$source/init" && echo "$ARCH" && printf '%s\n' "${debs//"$CACHE"/}"; } |
	keep_disk reference "$dir/disk.erofs" lay_out_reference
