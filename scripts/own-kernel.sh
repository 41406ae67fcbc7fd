#!/usr/bin/env bash
# own-kernel.sh DIR builds this project's kernel from the fragments in kernel-config, and puts into DIR
#
#	kernel         what a VMM loads: bzImage on amd64, Image on arm64
#	kernel.config  its configuration
#	vmlinux        amd64: the same without compression, for VMMs that enter it by PVH
#
# TRUSTED=1 leaves out the mitigations, for guests in which all that runs is trusted.
#
# The source is the distribution's package linux-source-6.12 (elsewhere its newest), or KERNEL_SRC, a directory. What was
# built from a package is kept in the cache by the content of all that it was built from; of a directory, the objects are
# kept in DIR, and make sees what has changed.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/debs.sh"

dir=$1
fragments=(kernel-config/common "kernel-config/$ARCH")
[ -n "${TRUSTED:-}" ] || fragments+=("kernel-config/$ARCH.mitigations")

case $ARCH in
amd64) kernel_arch=x86_64 image=bzImage boot=arch/x86/boot/bzImage gnu=x86_64-linux-gnu ;;
arm64) kernel_arch=arm64 image=Image boot=arch/arm64/boot/Image gnu=aarch64-linux-gnu ;;
*) die "no kernel for ARCH=$ARCH: only amd64 and arm64" ;;
esac

need gcc gcc
need libc6-dev /usr/include/stdio.h
need make make
need flex flex
need bison bison
need bc bc
need xz-utils xz
cross=
if [ "$ARCH" != "$(go env GOHOSTARCH)" ]; then
	cross=$gnu-
	need "gcc-${gnu/_/-}" "${cross}gcc"
fi
if [ "$ARCH" = amd64 ]; then
	# objtool reads objects with libelf.
	need libelf-dev /usr/include/gelf.h
	need lz4 lz4
fi

# make_kernel SOURCE OBJECTS TARGET... runs the kernel's make, and nothing of how make was called here. What the kernel says
# of where and when it was built is the same everywhere.
make_kernel() {
	local source=$1 objects=$2
	shift 2
	env -u MAKEFLAGS -u MAKEOVERRIDES -u MAKELEVEL LC_ALL=C \
		KBUILD_BUILD_USER=arcinit KBUILD_BUILD_HOST=arcinit KBUILD_BUILD_VERSION=1 \
		KBUILD_BUILD_TIMESTAMP="$(date -u -d "@$(stat -c %Y "$source/Makefile")")" \
		make -s -C "$source" O="$objects" ARCH="$kernel_arch" CROSS_COMPILE="$cross" -j "$(nproc)" "$@" >&2
}

# unmet CONFIG prints what the fragments ask for and the configuration does not have.
unmet() {
	awk '
		NR == FNR { if (split($0, is, "=") > 1 && /^CONFIG_/) value[is[1]] = substr($0, length(is[1]) + 2); next }
		/^CONFIG_/ { split($0, asked, "="); if (value[asked[1]] != substr($0, length(asked[1]) + 2)) print FILENAME ": " $0 }
		/^# CONFIG_.* is not set$/ { if ($2 in value) print FILENAME ": " $0 }
	' "$1" "${fragments[@]}"
}

# build SOURCE OBJECTS OUT builds the kernel.
build() {
	local source=$1 objects=$2 out=$3 missing
	mkdir -p "$objects" "$out"
	cat "${fragments[@]}" >"$objects/fragments"
	cp kernel-config/bootconfig "$objects/"
	# All that has a prompt and is not in the fragments is off; then what olddefconfig makes of it has to be the same.
	make_kernel "$source" "$objects" KCONFIG_ALLCONFIG="$objects/fragments" allnoconfig
	make_kernel "$source" "$objects" olddefconfig
	missing=$(unmet "$objects/.config")
	[ -z "$missing" ] || die "asked for, and not so in $(make_kernel "$source" "$objects" kernelversion 2>&1):"$'\n'"$missing"
	say "building a kernel of $(grep -c '=y$' "$objects/.config") symbols for $ARCH"
	make_kernel "$source" "$objects" "$image"
	cp "$objects/$boot" "$out/kernel"
	cp "$objects/.config" "$out/kernel.config"
	[ "$ARCH" != amd64 ] || "${cross}strip" -o "$out/vmlinux" "$objects/vmlinux"
}

if [ -n "${KERNEL_SRC:-}" ]; then
	mkdir -p "$dir"
	build "$(realpath "$KERNEL_SRC")" "$(realpath "$dir")/kernel-objects" "$dir"
	exit
fi

update_apt
package=linux-source-6.12
known $package || package=$(own_apt apt-cache pkgnames linux-source- | grep -E '^linux-source-[0-9.]+$' | sort -V | tail -1)
[ -n "$package" ] || die "apt knows no package linux-source-6.12, nor another one; KERNEL_SRC=directory names a source"
deb=$(download "$package")

# The .deb is named by its content.
key=$({ cat "${fragments[@]}" kernel-config/bootconfig "$0" && "${cross}gcc" --version && echo "$ARCH ${deb##*/}"; } | sha256sum)
kept=$CACHE/kernels/${key%% *}
if [ ! -d "$kept" ]; then
	mkdir -p "$CACHE/kernels"
	temp=$(mktemp -d "$CACHE/kernels/build.XXXXXX")
	trap 'rm -rf "$temp"' EXIT
	say "unpacking $package"
	dpkg -x "$deb" "$temp/package"
	tarball=$(find "$temp/package/usr/src" -type f -name 'linux-source-*.tar.*')
	mkdir "$temp/source"
	tar -x -f "$tarball" -C "$temp/source" --strip-components=1
	build "$temp/source" "$temp/objects" "$temp/out"
	# Somebody else may have built the same one meanwhile.
	mv -T "$temp/out" "$kept" 2>/dev/null || [ -d "$kept" ]
fi
mkdir -p "$dir"
for file in "$kept"/*; do
	cp "$file" "$dir/${file##*/}.tmp"
	mv "$dir/${file##*/}.tmp" "$dir/${file##*/}"
done
