#!/usr/bin/env bash
# built.sh prints the time of the last change to the program's sources, in seconds since 1970. It uses SOURCE_DATE_EPOCH
# (reproducible-builds.org), else the last commit that touched the sources, else the newest file. The commit's time is the
# same in every clone with the full history.
. "$(dirname "$0")/lib.sh"

cd "$(dirname "$0")/.."
sources=(go.mod go.sum cmd internal pkg scripts)

seconds=${SOURCE_DATE_EPOCH:-}
# git fails in a directory that was unpacked from an archive.
[ -n "$seconds" ] || seconds=$(git log -1 --format=%ct -- "${sources[@]}" 2>/dev/null) || true
[ -n "$seconds" ] || seconds=$(find "${sources[@]}" -type f -exec stat -c %Y {} + | sort -n | tail -1)
[[ $seconds =~ ^[0-9]+$ ]] || die "not a number of seconds since 1970: $seconds"
echo "$seconds"
