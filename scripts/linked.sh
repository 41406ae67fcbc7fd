#!/usr/bin/env bash
# linked.sh lists the packages of this module that uinit links.
. "$(dirname "$0")/lib.sh"
GOOS=linux GOARCH=$ARCH go list -deps ./cmd/uinit | grep "^$(go list -m)/"
