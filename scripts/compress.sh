#!/usr/bin/env bash
# compress.sh IMAGE OUT compresses an image with zstd, which the kernel can unpack.
. "$(dirname "$0")/lib.sh"

need zstd zstd
zstd -q -f -19 -T1 "$1" -o "$2"
