#!/usr/bin/env bash
# disk.sh IMAGE FILE makes an EROFS disk with IMAGE's uinit as its /sbin/init and the mount points of the set-up. It is for
# kernels that have the disk's driver built in: root=/dev/vda without an initramfs.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/disks.sh"

need cpio cpio
need erofs-utils mkfs.erofs
temp=$(mktemp -d)
trap 'rm -rf "$temp"' EXIT
mkdir -p "$temp"/root/{sbin,proc,sys,dev,run,tmp,var,etc,mnt,arcbox,private,Users,media/rosetta}
(cd "$temp" && cpio -id --quiet bin/uinit) <"$1"
mv "$temp/bin/uinit" "$temp/root/sbin/init"
pack_root "$temp/root" "$2"
