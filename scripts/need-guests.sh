#!/usr/bin/env bash
# need-guests.sh installs QEMU and virtiofsd, if missing.
. "$(dirname "$0")/lib.sh"

case $ARCH in
amd64) need qemu-system-x86 qemu-system-x86_64 ;;
arm64) need qemu-system-arm qemu-system-aarch64 ;;
*) die "no guests for ARCH=$ARCH: only amd64 and arm64" ;;
esac

# Newer distributions have virtiofsd as a package. In older ones it is part of QEMU's packages and only works for root;
# other users get the next release's from the cache, without installing it.
current="/usr/libexec/virtiofsd /usr/lib/virtiofsd $CACHE/virtiofsd/bin/virtiofsd"
for file in $current; do
	[ ! -e "$file" ] || exit 0
done
if [ -n "$(apt-cache show virtiofsd 2>/dev/null)" ]; then
	need virtiofsd /usr/libexec/virtiofsd
elif [ "$(id -u)" = 0 ]; then
	need qemu-system-common /usr/lib/qemu/virtiofsd
else
	# virtiofsd runs on this machine, not in the guest.
	ARCH=$(go env GOHOSTARCH)
	. "$(dirname "$0")/debs.sh"
	case $DISTRIBUTION in
	debian) use_suite trixie ;;
	ubuntu) use_suite noble ;;
	*) die "virtiofsd is missing, and this script does not know which release of $DISTRIBUTION has it" ;;
	esac
	lay_out "$CACHE/virtiofsd" virtiofsd virtiofsd
fi
