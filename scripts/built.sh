#!/usr/bin/env bash
# built.sh prints one line about the sources: the time of their last change, in seconds since 1970, and their version.
#
# The time is SOURCE_DATE_EPOCH (reproducible-builds.org), else that of the last commit that touched the sources, else the newest
# file's. The version is ARCINIT_VERSION, else by the newest tag vX.Y.Z among this commit's ancestors:
#
#	1.2.3                  the sources are the tag's
#	1.2.3-2-gCOMMIT        two commits have touched the sources since; the last one is COMMIT
#	devel-20261130011930   there is no tag, or no git: the time
#
# -dirty follows if the sources have changes that are not committed. Every clone with the full history prints the same line.
. "$(dirname "$0")/lib.sh"

cd "$(dirname "$0")/.."
# Everything that a release is made of.
sources=(go.mod go.sum LICENSE cmd internal kernel-config pkg scripts)

seconds=${SOURCE_DATE_EPOCH:-}
# git fails in a directory that was unpacked from an archive.
[ -n "$seconds" ] || seconds=$(git log -1 --format=%ct -- "${sources[@]}" 2>/dev/null) || true
[ -n "$seconds" ] || seconds=$(find "${sources[@]}" -type f -exec stat -c %Y {} + | sort -n | tail -1)
[[ $seconds =~ ^[0-9]+$ ]] || die "not a number of seconds since 1970: $seconds"

# described prints the version that git knows.
described() {
	local tag commits version
	if tag=$(git describe --tags --abbrev=0 --match 'v[0-9]*.[0-9]*.[0-9]*' 2>/dev/null); then
		version=${tag#v}
		commits=$(git rev-list --count "$tag..HEAD" -- "${sources[@]}")
		[ "$commits" = 0 ] || version+=-$commits-g$(git log -1 --format=%h --abbrev=12 -- "${sources[@]}")
	else
		version=devel-$(date -u -d "@$seconds" +%Y%m%d%H%M%S)
	fi
	[ -z "$(git status --porcelain -- "${sources[@]}" 2>/dev/null)" ] || version+=-dirty
	echo "$version"
}

version=${ARCINIT_VERSION:-$(described)}
[[ $version =~ ^[0-9A-Za-z.+-]+$ ]] || die "not a version: $version"
echo "$seconds $version"
