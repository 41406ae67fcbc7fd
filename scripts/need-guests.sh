#!/usr/bin/env bash
# need-guests.sh installs what guests run on, if it is missing: QEMU and virtiofsd.
. "$(dirname "$0")/lib.sh"

case $ARCH in
amd64) need qemu-system-x86 qemu-system-x86_64 ;;
arm64) need qemu-system-arm qemu-system-aarch64 ;;
*) die "no guests for ARCH=$ARCH: only amd64 and arm64" ;;
esac
# A package of its own in newer distributions, part of QEMU's in older ones.
package=virtiofsd
apt-cache show virtiofsd 2>/dev/null | grep -q . || package=qemu-system-common
need "$package" /usr/libexec/virtiofsd /usr/lib/virtiofsd /usr/lib/qemu/virtiofsd
