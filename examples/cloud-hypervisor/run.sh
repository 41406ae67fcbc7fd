#!/bin/sh
# run.sh boots a guest with Cloud Hypervisor. The current directory has vmlinux, initramfs.cpio, data.img and the directories
# arcbox and private. It needs root, and the NICs of ../network.sh.
set -eu
here=$(dirname "$0")
PATH=$PATH:/usr/libexec:/usr/lib # where distributions put virtiofsd

# A socket of an earlier run would be in the way.
rm -f vmm.sock vsock.sock
# Each virtiofsd ends with the guest.
virtiofsd --socket-path arcbox.sock --shared-dir arcbox &
virtiofsd --socket-path users.sock --shared-dir /home &
virtiofsd --socket-path private.sock --shared-dir private &

# The VMM has the terminal, so the requests come from the background. They begin when the VMM answers.
{
	until ch-remote --api-socket vmm.sock ping >/dev/null 2>&1; do sleep 0.1; done
	ch-remote --api-socket vmm.sock create "$here/vm.json"
	ch-remote --api-socket vmm.sock boot
} &
exec cloud-hypervisor --api-socket path=vmm.sock
