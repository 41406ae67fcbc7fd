# shellcheck shell=bash
# Functions that the other scripts share; they source this file.

set -euo pipefail
umask 022 # the modes of staged files end up in the images

# Administrators' programs are not on everyone's PATH.
PATH=$PATH:/usr/sbin:/sbin

ARCH=${ARCH:-$(go env GOARCH)}
# shellcheck disable=SC2034 # the other scripts use it
CACHE=${ARCINIT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/arcinit}

say() { echo "arcinit: $*" >&2; }
die() {
	say "$*"
	exit 1
}

# as_root COMMAND... runs a command as root, with sudo if this user is not root.
as_root() {
	if [ "$(id -u)" = 0 ]; then
		"$@"
	elif command -v sudo >/dev/null; then
		sudo "$@"
	else
		die "this needs root, and sudo is not installed: $*"
	fi
}

# need PACKAGE FILE... installs the package if none of the files exists. A name without a slash is looked up in PATH.
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
		die "missing: $* (Debian package $package), and this machine has no apt to install it"
	say "installing $package"
	install_package "$package" || {
		# The package lists are missing, or name versions that the mirror no longer has.
		as_root apt-get -q update >&2
		install_package "$package" || die "cannot install $package, needed for: $*"
	}
}

# install_package PACKAGE installs a package. It waits for another apt, such as the machine's daily one, to end.
install_package() {
	as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 \
		install --no-install-recommends "$1" >&2
}
