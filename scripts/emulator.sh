#!/usr/bin/env bash
# emulator.sh FILE writes to FILE a static program that runs x86-64 programs on another architecture, as Rosetta does on a
# Mac. In the tests the guest's kernel calls it.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/debs.sh"

update_apt
# Newer releases have the static programs in qemu-user, and qemu-user-static is an empty package.
temp=$(mktemp -d)
trap 'rm -rf "$temp"' EXIT
for package in qemu-user-static qemu-user; do
	known "$package" || continue
	deb=$(download "$package")
	dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$temp" --wildcards './usr/bin/qemu-x86_64*' || continue
	for file in "$temp"/usr/bin/qemu-x86_64-static "$temp"/usr/bin/qemu-x86_64; do
		if [ -f "$file" ] && [ ! -L "$file" ]; then
			cp "$file" "$1"
			exit 0
		fi
	done
done
die "no qemu-x86_64 in qemu-user-static or qemu-user for $ARCH"
