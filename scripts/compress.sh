#!/usr/bin/env bash
# compress.sh IMAGE OUT compresses an image as the kernel can unpack it.
. "$(dirname "$0")/lib.sh"

need zstd zstd
zstd -q -f -19 -T1 "$1" -o "$2"
