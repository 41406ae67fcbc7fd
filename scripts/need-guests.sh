#!/usr/bin/env bash
# need-guests.sh installs what guests run on, if it is missing: QEMU and virtiofsd.
. "$(dirname "$0")/lib.sh"

case $ARCH in
amd64) need qemu-system-x86 qemu-system-x86_64 ;;
arm64) need qemu-system-arm qemu-system-aarch64 ;;
*) die "no guests for ARCH=$ARCH: only amd64 and arm64" ;;
esac

# virtiofsd is a package of its own in newer distributions, part of QEMU's in older ones. That older one only works for
# root; for anyone else the next release's is taken, which is not installed but kept in the cache.
current="/usr/libexec/virtiofsd /usr/lib/virtiofsd $CACHE/virtiofsd/bin/virtiofsd"
for file in $current; do
	[ ! -e "$file" ] || exit 0
done
if [ -n "$(apt-cache show virtiofsd 2>/dev/null)" ]; then
	need virtiofsd /usr/libexec/virtiofsd
elif [ "$(id -u)" = 0 ]; then
	need qemu-system-common /usr/lib/qemu/virtiofsd
else
	# It runs on this machine, whatever the guest is.
	ARCH=$(go env GOHOSTARCH)
	. "$(dirname "$0")/debs.sh"
	case $DISTRIBUTION in
	debian) use_suite trixie ;;
	ubuntu) use_suite noble ;;
	*) die "virtiofsd is missing, and not known where to take it from for $DISTRIBUTION" ;;
	esac
	lay_out "$CACHE/virtiofsd" virtiofsd virtiofsd
fi
