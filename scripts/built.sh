#!/usr/bin/env bash
# built.sh prints when what the program is built from was last changed, in seconds since 1970: as SOURCE_DATE_EPOCH says
# (reproducible-builds.org), else by the last commit that touched it, else by its newest file. The commit's time is the same
# in every clone that has the history.
. "$(dirname "$0")/lib.sh"

cd "$(dirname "$0")/.."
sources=(go.mod go.sum cmd internal pkg scripts)

seconds=${SOURCE_DATE_EPOCH:-}
# Not a sign of git at all, in what was unpacked from an archive.
[ -n "$seconds" ] || seconds=$(git log -1 --format=%ct -- "${sources[@]}" 2>/dev/null) || true
[ -n "$seconds" ] || seconds=$(find "${sources[@]}" -type f -printf '%Ts\n' | sort -n | tail -1)
[[ $seconds =~ ^[0-9]+$ ]] || die "not a number of seconds since 1970: $seconds"
echo "$seconds"
