#!/usr/bin/env bash
# program.sh OUT PACKAGE... builds programs of this module, or of its tools, for this machine or for GOARCH. OUT is a file, or a
# directory with a slash at its end.
. "$(dirname "$0")/lib.sh"

need_go
mkdir -p "${1%/*}"
# Without cgo, all programs share one build of the standard library. Git may refuse to describe a directory of another user's.
label="build ${*:2}"
part "${label//.\//}" env CGO_ENABLED=0 go build -buildvcs=false -o "$@"
# Go leaves a program alone that would not change.
if [ -f "$1" ]; then touch "$1"; fi
