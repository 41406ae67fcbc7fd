#!/usr/bin/env bash
# release.sh DIR puts a release into DIR: what boots a guest, and the host's tool, for each system; the kernel's source, lists of
# what is in each program (SBOM), licences, and SHA256SUMS. Each file has the version in its name. The same sources give the
# same bytes on a machine with the same packages (docs/release.md).
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/debs.sh"

out=$1 temp=$1.tmp
cyclonedx=github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0
# Another version of Go makes other bytes, so this one is used even if a newer one is installed.
GOTOOLCHAIN=$(sed -n 's/^toolchain //p' go.mod)
export GOTOOLCHAIN LC_ALL=C

# The version comes from the whole history (built.sh).
[ "$(git rev-parse --is-shallow-repository 2>/dev/null)" = false ] ||
	die "a release needs a git clone with the whole history; for a shallow one: git fetch --unshallow --tags"
built=$(scripts/built.sh)
version=${built#* }

# add FILE NAME adds a file to the release.
add() { install -m 644 "$1" "$temp/arcinit-$version-$2"; }

# sbom OS ARCH PROGRAM NAME writes which modules a program links, and their licences.
sbom() (
	go_for "$1" "$2"
	"$temp.bin/cyclonedx-gomod" app -json -noserial -notimestamp -licenses -std -main "cmd/$3" \
		-output "$temp/arcinit-$version-$4.cdx.json" .
)

# guest ARCH adds what boots a guest.
guest() {
	local from=build/$1
	make --no-print-directory ARCH="$1" TRUSTED= KERNEL_SRC= kernel disk "$from/initramfs.cpio.zst"
	add "$from/initramfs.cpio" "initramfs-$1.cpio"
	add "$from/initramfs.cpio.zst" "initramfs-$1.cpio.zst"
	add "$from/disk.erofs" "disk-$1.erofs"
	add "$from/kernel" "kernel-$1"
	add "$from/kernel.config" "kernel-$1.config"
	[ "$1" != amd64 ] || add "$from/vmlinux" "vmlinux-$1"
	sbom linux "$1" uinit "initramfs-$1"
}

# tool OS ARCH adds the host's tool.
tool() {
	say "building arcinit for $1 on $2"
	(
		go_for "$1" "$2"
		go build -trimpath -ldflags "-s -w -buildid= -X github.com/arcinit/arcinit/internal/built.version=$version" \
			-o "$temp/arcinit-$version-$1-$2" ./cmd/arcinit
	)
	sbom "$1" "$2" arcinit "$1-$2"
}

# kernel_source adds the source of the kernels, because the GPL requires it of everyone who distributes a kernel. own-kernel.sh builds
# from the same package, out of the same package lists.
kernel_source() {
	local deb
	update_apt
	known linux-source-6.12 || die "apt knows no linux-source-6.12: make the release on Debian 12"
	deb=$(download linux-source-6.12)
	add "$deb" kernel-source.deb
}

# notices prints the licences of Go and of each module that a program of the release links.
notices() {
	local target path version dir files
	cat <<-END
		The programs uinit and arcinit link Go's library and runtime and the modules below.

		The kernels are Linux, under GPL-2.0 with the syscall note. Their source, with the licence, is the release's
		kernel-source.deb; kernel-config and scripts/own-kernel.sh in arcinit's sources build it.
	END
	for target in linux/amd64 linux/arm64 darwin/amd64 darwin/arm64; do
		(
			go_for "${target%/*}" "${target#*/}"
			go list -deps -f '{{with .Module}}{{if .Version}}{{.Path}} {{.Version}} {{.Dir}}{{end}}{{end}}' ./cmd/uinit ./cmd/arcinit
		)
	done | cat - <(echo "Go $(go env GOVERSION) $(go env GOROOT)") | sort -u | while read -r path version dir; do
		[ -n "$dir" ] || continue
		files=$(find "$dir" -maxdepth 1 -type f | grep -iE '/(licen[sc]e|copying|notice|patents)[^/]*$' | sort) || die "no licence in $dir"
		printf '\n==== %s %s\n' "$path" "$version"
		while read -r file; do
			printf '\n---- %s\n\n' "${file##*/}"
			cat "$file"
		done <<<"$files"
	done
}

rm -rf "$temp" "$temp.bin"
mkdir -p "$temp"
trap 'rm -rf "$temp" "$temp.bin"' EXIT
# An SBOM has the checksum of the program that wrote it.
(
	go_for "$(go env GOHOSTOS)" "$(go env GOHOSTARCH)"
	GOBIN=$(realpath -m "$temp.bin") go install -trimpath "$cyclonedx"
)
guest amd64
guest arm64
kernel_source
tool linux amd64
tool linux arm64
tool darwin amd64
tool darwin arm64
add LICENSE LICENSE
notices >"$temp/arcinit-$version-NOTICES"
(cd "$temp" && sha256sum -- * >SHA256SUMS)
rm -rf "$out"
mv "$temp" "$out"
say "$(du -h --apparent-size -s "$out" | cut -f1) in $out"
(cd "$out" && ls -l)
