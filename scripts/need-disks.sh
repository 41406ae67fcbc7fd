#!/usr/bin/env bash
# need-disks.sh installs the programs that make the tests' disks, if missing.
. "$(dirname "$0")/lib.sh"

need erofs-utils mkfs.erofs
need e2fsprogs mke2fs
need fdisk sfdisk
need btrfs-progs mkfs.btrfs
need xfsprogs mkfs.xfs
need squashfs-tools mksquashfs
