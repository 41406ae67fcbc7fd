#!/usr/bin/env bash
# need-guests.sh [check] installs what guests need, if missing: QEMU, virtiofsd, and the programs that choose their kernel's
# modules. check installs nothing, and fails if this user cannot install what is missing.
. "$(dirname "$0")/lib.sh"

if [ "$ARCH" = amd64 ]; then want qemu-system-x86 qemu-system-x86_64; else want qemu-system-arm qemu-system-aarch64; fi
# BusyBox has another depmod, which writes no indexes for modprobe to read.
want kmod kmod
want xz-utils xz
want zstd zstd

# Newer distributions have virtiofsd as a package. In older ones it is part of QEMU's packages and only works for root;
# other users get the next release's from the cache, without installing it.
virtiofsd=("$MACHINE"/usr/libexec/virtiofsd "$MACHINE"/usr/lib/virtiofsd "$CACHE"/virtiofsd/bin/virtiofsd)
[ "$(id -u)" != 0 ] || virtiofsd+=("$MACHINE"/usr/lib/qemu/virtiofsd)
command -v apt-get >/dev/null || want virtiofsd "${virtiofsd[@]}"
if [ "${1:-}" = check ]; then
	can_install
	exit
fi
if [ -n "$(apt-cache show virtiofsd 2>/dev/null)" ]; then want virtiofsd "${virtiofsd[@]}"; fi
install_missing

for file in "${virtiofsd[@]}"; do
	[ ! -e "$file" ] || exit 0
done
# The installation may have brought the package lists.
if [ -n "$(apt-cache show virtiofsd 2>/dev/null)" ]; then
	need virtiofsd "${virtiofsd[@]}"
elif [ "$(id -u)" = 0 ]; then
	need qemu-system-common "${virtiofsd[@]}"
else
	# virtiofsd runs on this machine, not in the guest.
	ARCH=$(host_arch)
	. "$(dirname "$0")/debs.sh"
	case $DISTRIBUTION in
	debian) use_suite trixie ;;
	ubuntu) use_suite noble ;;
	*) die "virtiofsd is missing, and this script does not know which release of $DISTRIBUTION has it" ;;
	esac
	lay_out "$CACHE/virtiofsd" virtiofsd virtiofsd
fi
