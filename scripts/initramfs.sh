#!/usr/bin/env bash
# initramfs.sh KIND OUT [BASE] [ROOT] makes an image with build/mkuimage. It holds the files of BASE (an image) and of ROOT (a
# directory), and by KIND:
#
#	plain   uinit as /init
#	fault   for tests: as plain, but uinit fails where a test asks; ROOT as for modules
#	race    for tests: uinit with Go's race detector as /init; ROOT as for modules
#	modules nothing else: BASE is the plain image, ROOT comes from modules.sh
#	debug   u-root's shell and core commands: BASE is the image with modules
#	uinit   u-root's init, shell and commands in one busybox with uinit; u-root's init starts uinit; ROOT as for modules
#
# The same sources give the same bytes.
. "$(dirname "$0")/lib.sh"

kind=$1 out=$2 base=${3:-} root=${4:-}

need_go
# mkuimage is one of the tools in go.mod. go tool would build it for GOARCH, but it must run on this machine.
[ build/mkuimage -nt go.mod ] || scripts/program.sh build/mkuimage github.com/u-root/mkuimage/cmd/mkuimage

temp=$(mktemp -d)
trap 'rm -rf "$temp"' EXIT

go_for linux "$ARCH"

# Package built reads the time and the version. Functions aligned to 16 bytes, as on arm64, and not to 32, save 65 KB. A second -ldflags
# replaces mkuimage's own, so those are repeated.
built=$(scripts/built.sh)
ldflags="-s -w -buildid= -funcalign=16 -X github.com/arcinit/arcinit/internal/built.seconds=${built% *}"
ldflags+=" -X github.com/arcinit/arcinit/internal/built.version=${built#* }"

# The runtime neither interrupts goroutines by signals, since none of uinit's runs for long without calling a function, nor
# names its memory for /proc. Both are system calls. Nor does it look for a limit of processor time: under another init it
# would hold a file of cgroup v1 open, whose controller v2 then never gets. The directive //go:debug does not know the first.
ldflags+=" -X runtime.godebugDefault=asyncpreemptoff=1,decoratemappings=0,containermaxprocs=0,updatemaxprocs=0"

# mkuimage turns inlining off to save space. In these packages inlining costs 75 KB and saves half a millisecond.
inlined=()
for package in runtime internal/runtime/... syscall internal/poll; do
	inlined+=(-go-extra-args="-gcflags=$package=")
done

# The commands are the tools in go.mod that come from u-root.
list_commands() { go list tool | grep '^github.com/u-root/u-root/cmds/core/' >"$temp/commands"; }
case $kind in
debug | uinit)
	part "list u-root's commands" list_commands
	mapfile -t commands <"$temp/commands"
	;;
esac

# entry PATH MODE [MAJOR MINOR] prints the header of an entry without content in an archive of the kind that the kernel unpacks
# (newc, Documentation/driver-api/early-userspace/buffer-format.rst). Only root could make a device for an archiver to read.
entry() {
	printf '070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s\0' \
		0 "$2" 0 0 1 0 0 0 0 "${3:-0}" "${4:-0}" $((${#1} + 1)) 0 "$1"
	head -c $((-(110 + ${#1} + 1) & 3)) /dev/zero
}

# The directories on which every guest has something mounted, and the devices without which the kernel starts /init without
# standard streams, or Go does not start. u-root's own base has two files in /etc, too, which would be copied at each boot.
{
	for dir in dev etc proc run sys tmp var; do entry "$dir" 040755; done
	entry dev/console 020600 5 1
	entry dev/null 020666 1 3
	entry TRAILER!!! 0
} >"$temp/base"
own=(-base="$temp/base" -build=binary -initcmd=uinit)

case $kind in
plain) options=("${own[@]}" ./cmd/uinit) ;;
fault) options=("${own[@]}" -go-build-tags=fault ./cmd/uinit) ;;
race)
	# The race detector is C: mkuimage, which builds without cgo, gets the finished program.
	CGO_ENABLED=1 go build -race -tags netgo,osusergo -ldflags "$ldflags -linkmode external -extldflags -static" -o "$temp/init" ./cmd/uinit
	options=(-nocmd -initcmd= -defaultsh= -files "$temp/init:init")
	;;
modules) options=(-nocmd -base="$base" -use-init) ;;
debug) options=(-build=bb -base="$base" -use-init -defaultsh=gosh "${commands[@]}") ;;
uinit) options=(-build=bb -initcmd=init -uinitcmd=uinit -defaultsh=gosh "${commands[@]}" ./cmd/uinit) ;;
*) die "unknown kind of image: $kind" ;;
esac

# COVER=1 makes uinit count which statements run, and fail where a test asks. In the kind uinit it does not count.
if [ -n "${COVER:-}" ]; then
	packages=$(scripts/linked.sh | paste -sd,)
	options=(-go-build-tags=fault -go-extra-args=-cover -go-extra-args=-covermode=atomic -go-extra-args="-coverpkg=$packages" "${options[@]}")
fi

[ -z "$root" ] || options=(-files "$root:." "${options[@]}")

# mkuimage tells go to compile everything anew (-a). Go's cache knows the flags, so that is not needed.
part "build $out" build/mkuimage -o "$temp/image" -skip-ldd -go-extra-args=-a=false -go-extra-args="-ldflags=$ldflags" "${inlined[@]}" "${options[@]}"
mkdir -p "$(dirname "$out")"
cp "$temp/image" "$out.tmp"
mv "$out.tmp" "$out"
