# shellcheck shell=bash
# What the other scripts share; they source it.

set -euo pipefail
umask 022 # the modes of staged files end up in the images

# Administrators' programs are not on everyone's PATH.
PATH=$PATH:/usr/sbin:/sbin

ARCH=${ARCH:-$(go env GOARCH)}
# shellcheck disable=SC2034 # used by those who source this
CACHE=${ARCINIT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/arcinit}

say() { echo "arcinit: $*" >&2; }
die() {
	say "$*"
	exit 1
}

# as_root COMMAND... runs it as root, through sudo where need be.
as_root() {
	if [ "$(id -u)" = 0 ]; then
		"$@"
	elif command -v sudo >/dev/null; then
		sudo "$@"
	else
		die "this needs root, and there is no sudo: $*"
	fi
}

# need PACKAGE FILE... makes sure that one of the files exists (a name without a slash is looked for in PATH), by
# installing the package if none does. So a machine that has everything is left alone.
need() {
	local package=$1 file
	shift
	for file in "$@"; do
		case $file in
		*/*) [ ! -e "$file" ] || return 0 ;;
		*) ! command -v "$file" >/dev/null || return 0 ;;
		esac
	done
	command -v apt-get >/dev/null ||
		die "missing: $* (Debian's package $package), and there is no apt here to install it with"
	say "installing $package"
	install_package "$package" || {
		# The lists are missing, or so old that what they name is gone.
		as_root apt-get -q update >&2
		install_package "$package" || die "cannot install $package, needed for: $*"
	}
}

# install_package PACKAGE waits for another apt, such as the machine's daily one, to end.
install_package() {
	as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 \
		install --no-install-recommends "$1" >&2
}
