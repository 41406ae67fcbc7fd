#!/usr/bin/env bash
# iptables.sh DIR lays out in DIR the distribution's iptables with its libraries, to be run in a guest that has no other
# file of the distribution:
#
#	XTABLES_LIBDIR=DIR/lib/xtables DIR/ld.so --library-path DIR/lib DIR/usr/sbin/xtables-nft-multi iptables -S
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/debs.sh"

dir=$1

update_apt
mapfile -t packages < <(with_dependencies iptables)
temp=$dir.tmp
rm -rf "$temp" "$dir"
mkdir -p "$temp/unpacked" "$temp/lib" "$temp/usr/sbin"
debs=$(download "${packages[@]}")
for deb in $debs; do
	dpkg -x "$deb" "$temp/unpacked"
done

# Distributions differ in whether libraries are in /lib or /usr/lib: here they are all in one directory.
find "$temp/unpacked" -name 'lib*.so*' ! -path '*/xtables/*' ! -path '*/gconv/*' -exec cp -P {} "$temp/lib/" \;
find "$temp/unpacked" -type d -name xtables -exec cp -R {} "$temp/lib/" \;
# Of the links to the program that starts dynamic programs, some are absolute, and lead nowhere here.
find "$temp/unpacked" -type f -name 'ld-*.so*' -exec cp {} "$temp/ld.so" \;
cp "$temp/unpacked/usr/sbin/xtables-nft-multi" "$temp/usr/sbin/"
rm -rf "$temp/unpacked"
for file in "$temp/ld.so" "$temp/lib/libc.so.6" "$temp/lib/xtables"; do
	[ -e "$file" ] || die "the packages ${packages[*]} have no ${file#"$temp/"}"
done
mv "$temp" "$dir"
