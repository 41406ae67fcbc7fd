#!/usr/bin/env bash
# modules.sh KERNEL LIST ROOT puts into ROOT the modules in LIST, the modules that they depend on, and depmod's indexes. The
# modules are uncompressed, because they then load in half the time.
. "$(dirname "$0")/lib.sh"

kernel=$1 list=$2 root=$3

# BusyBox has another depmod.
need kmod kmod
need xz-utils xz
need zstd zstd

rm -rf "$root"
# A kernel may have all its drivers built in.
if [ ! -e "$kernel/lib/modules" ]; then
	mkdir -p "$root"
	exit
fi
version=$(ls "$kernel/lib/modules")
begin "choose the modules of $version"
mkdir -p "$root/lib/modules/$version"

# With -b, newer versions of kmod look in /usr/lib.
[ -e "$kernel/usr/lib" ] || { mkdir -p "$kernel/usr" && ln -s ../lib "$kernel/usr/lib"; }
# An installed kernel has its indexes, and the packages of one have none.
[ -e "$kernel/lib/modules/$version/modules.dep.bin" ] || depmod -b "$kernel" "$version"

skipped=()
while read -r name _; do
	case $name in '' | '#'*) continue ;; esac
	# modprobe prints "insmod PATH" lines in the order of loading, or "builtin NAME". -C ignores this machine's configuration.
	if ! files=$(modprobe -d "$kernel" -S "$version" -C /dev/null --show-depends "$name" 2>/dev/null </dev/null |
		sed -n 's/^insmod \([^ ]*\).*/\1/p') || [ -z "$files" ]; then
		skipped+=("$name")
		continue
	fi
	for file in $files; do
		target=$root/lib/modules/$version/${file#*"/lib/modules/$version/"}
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
# Only kmod's own programs read the binary indexes, and nothing in the guest reads modules.symbols.
rm -f "$root/lib/modules/$version"/modules.{*.bin,symbols,order}
chmod -R u=rwX,go=rX "$root"

label="choose $(find "$root" -name '*.ko' | wc -l) modules of $version; built in or missing: ${skipped[*]:-none}"
end
