#!/usr/bin/env bash
# need-disks.sh installs what the tests make disks with, if it is missing.
. "$(dirname "$0")/lib.sh"

need erofs-utils mkfs.erofs
need e2fsprogs mke2fs
need fdisk sfdisk
