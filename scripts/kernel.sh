#!/usr/bin/env bash
# kernel.sh DIR [SUITE] puts the distribution's kernel for virtual machines into DIR: vmlinuz, config and lib/modules. With
# SUITE the kernel comes from that Debian release.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/debs.sh"

dir=$1 suite=${2:-}

# The package that depends on the kernel's packages. The first that apt knows is used.
case $DISTRIBUTION${suite:+-}$suite in
debian-*) candidates=linux-image-cloud-$ARCH ;;
*-*) die "the kernel of $suite comes from Debian, but this machine runs $DISTRIBUTION" ;;
ubuntu) candidates="linux-image-virtual linux-image-generic" ;;
# Debian 12 also has a newer kernel.
*) candidates="linux-image-6.12-cloud-$ARCH linux-image-cloud-$ARCH linux-image-$ARCH" ;;
esac

if [ -n "$suite" ]; then use_suite "$suite"; else update_apt; fi
for meta in $candidates; do
	known "$meta" && break
	meta=
done
[ -n "$meta" ] || die "apt knows none of these kernels for $ARCH: $candidates"

# The kernel is in one package, or in several that depend on each other.
mapfile -t packages < <(with_dependencies "$meta" | grep -E '^linux-(image|base|binary|modules)-[0-9]' | grep -vx "$meta")
temp=$dir.tmp
rm -rf "$temp" "$dir"
mkdir -p "$temp"
debs=$(download "${packages[@]}")
for deb in $debs; do
	dpkg -x "$deb" "$temp"
done
mkdir -p "$temp/lib"
[ -d "$temp/usr/lib/modules" ] && mv "$temp/usr/lib/modules" "$temp/lib/"
modules=("$temp"/lib/modules/*)
version=${modules[0]##*/}
for file in vmlinuz config; do
	for path in "$temp/boot/$file-$version" "$temp/lib/modules/$version/$file"; do
		[ -e "$path" ] && mv "$path" "$temp/$file"
	done
done
[ -e "$temp/vmlinuz" ] || die "no vmlinuz in ${packages[*]}"
chmod 644 "$temp/vmlinuz"
rm -rf "${temp:?}"/{boot,usr}
mv "$temp" "$dir"
