#!/usr/bin/env bash
# modules.sh KERNEL LIST ROOT lays out in ROOT the part of an image that belongs to a kernel with modules: those in LIST
# and what they depend on, uncompressed (they load in half the time), with the indexes that depmod makes.
. "$(dirname "$0")/lib.sh"

kernel=$1 list=$2 root=$3

need kmod depmod
need xz-utils xz
need zstd zstd

version=$(ls "$kernel/lib/modules")
rm -rf "$root"
mkdir -p "$root/lib/modules/$version"

# Newer versions of kmod look in /usr/lib, where ROOT is concerned.
[ -e "$kernel/usr/lib" ] || { mkdir -p "$kernel/usr" && ln -s ../lib "$kernel/usr/lib"; }
depmod -b "$kernel" "$version"

passed_over=()
while read -r name _; do
	case $name in '' | '#'*) continue ;; esac
	# Lines of "insmod PATH" in the order of loading, or "builtin NAME"; of the machine's own configuration, nothing.
	if ! files=$(modprobe -d "$kernel" -S "$version" -C /dev/null --show-depends "$name" 2>/dev/null </dev/null |
		sed -n 's/^insmod \([^ ]*\).*/\1/p') || [ -z "$files" ]; then
		passed_over+=("$name")
		continue
	fi
	for file in $files; do
		target=$root/lib/modules/$version/kernel/${file##*/kernel/}
		target=${target%.ko*}.ko
		[ ! -e "$target" ] || continue
		mkdir -p "${target%/*}"
		case $file in
		*.xz) xz -dc "$file" >"$target" ;;
		*.zst) zstd -qdc "$file" >"$target" ;;
		*.gz) gzip -dc "$file" >"$target" ;;
		*) cp "$file" "$target" ;;
		esac
	done
done <"$list"

cp "$kernel/lib/modules/$version"/modules.{builtin,builtin.modinfo,order} "$root/lib/modules/$version/"
mkdir "$root/usr"
ln -s ../lib "$root/usr/lib"
depmod -b "$root" "$version"
rm -r "${root:?}/usr"
# The indexes in binary form are for kmod's own programs; modules.symbols is for no one here.
rm -f "$root/lib/modules/$version"/modules.{*.bin,symbols,order}
chmod -R u=rwX,go=rX "$root"

say "$(find "$root" -name '*.ko' | wc -l) modules of $version; built in or not there: ${passed_over[*]:-none}"
