#!/bin/sh
# run.sh boots a guest with vfkit. The current directory has kernel, initramfs.cpio, data.img and the directory arcbox.
set -eu

# Intel Macs have no Rosetta, and vfkit refuses the device there.
rosetta=
[ "$(uname -m)" != arm64 ] || rosetta='--device rosetta,mountTag=rosetta,install'

# vfkit wants absolute paths, and quotes around the kernel command line. $rosetta is two arguments or none.
# shellcheck disable=SC2086
exec vfkit --cpus 2 --memory 2048 \
	--bootloader "linux,kernel=$PWD/kernel,initrd=$PWD/initramfs.cpio,cmdline=\"console=hvc0 arcbox.notify=vsock:2:1024\"" \
	--device "virtio-fs,sharedDir=$PWD/arcbox,mountTag=arcbox" \
	--device virtio-fs,sharedDir=/Users,mountTag=users \
	--device virtio-fs,sharedDir=/private,mountTag=private \
	$rosetta \
	--device virtio-net,nat,mac=52:54:00:00:00:01 \
	--device virtio-net,nat,mac=52:54:00:00:00:02 \
	--device "virtio-blk,path=$PWD/data.img" \
	--device "virtio-vsock,port=1024,socketURL=$PWD/notify.sock,listen" \
	--device virtio-serial,stdio \
	--device virtio-rng \
	--restful-uri "unix://$PWD/vfkit.sock"
