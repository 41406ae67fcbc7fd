#!/usr/bin/env bash
# release-check.sh DIR makes the release that is in DIR again, from a clone in another directory, with other settings and without
# compiled packages. It fails if a byte differs. The kernels come from the cache in both.
. "$(dirname "$0")/lib.sh"

[ -z "$(git status --porcelain)" ] || die "commit first: a clone has only what is committed"
temp=$(mktemp -d)
trap 'rm -rf "$temp"' EXIT
again="$temp/a directory whose name is longer, and has spaces/arcinit"
(
	umask 077
	git clone -q . "$again"
	# The settings are those that go into a program if the scripts do not set their own.
	env -u ARCH -u MAKEFLAGS -u MAKELEVEL ARCINIT_CACHE="$CACHE" TZ=Pacific/Kiritimati LC_ALL=C.UTF-8 USER=somebody LOGNAME=somebody \
		GOCACHE="$temp/cache" GOFLAGS=-gcflags=all=-N GOAMD64=v3 GOARM64=v9.0 CGO_ENABLED=1 \
		make --no-print-directory -C "$again" release
)
diff -r "$1" "$again/build/release" || die "the two releases differ"
say "the two releases have the same bytes"
