# shellcheck shell=bash
# Functions that the other scripts share; they source this file.

set -euo pipefail
umask 022 # the modes of staged files end up in the images

# Tests give the scripts another machine's files.
MACHINE=${ARCINIT_MACHINE:-}
# Administrators' programs are not on everyone's PATH.
PATH=$PATH:$MACHINE/usr/sbin:$MACHINE/sbin

# On a terminal, the line of a part is drawn again while the part runs. NO_COLOR is explained on no-color.org.
redraw='' dim='' red='' plain=''
if [ -t 2 ] && [ "${TERM:-dumb}" != dumb ]; then
	redraw=$'\r\e[K'
	[ -n "${NO_COLOR:-}" ] || dim=$'\e[2m' red=$'\e[31m' plain=$'\e[0m'
fi

say() { echo "${redraw}arcinit: $*" >&2; }
die() {
	say "$red$*$plain"
	exit 1
}

# The architectures have Go's names.
host_arch() {
	case $(uname -m) in
	x86_64) echo amd64 ;;
	aarch64) echo arm64 ;;
	*) uname -m ;;
	esac
}
ARCH=${ARCH:-$(host_arch)}
case $ARCH in
amd64 | arm64) ;;
x86_64 | x86-64 | x64) die "ARCH=$ARCH is called amd64 here: ARCH=amd64" ;;
aarch64 | arm64v8) die "ARCH=$ARCH is called arm64 here: ARCH=arm64" ;;
*) die "ARCH=$ARCH: there are only guests for amd64 and arm64" ;;
esac

# shellcheck disable=SC2034 # the other scripts use it
CACHE=${ARCINIT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/arcinit}

# clock prints the time in milliseconds. Bash before version 5 only knows seconds.
clock() {
	local now=${EPOCHREALTIME:-$(date +%s)000000}
	now=${now//[!0-9]/} # the point may be a comma
	echo $((now / 1000))
}

# begin LABEL starts a part: until end, a terminal shows its line with the time so far, and a bar if apt writes its status to the
# log. Of parts that run at the same time, the first has the line.
begin() {
	label=$1 began=$(clock) drawer=''
	mkdir -p build/log
	log=build/log/$(tr -cs 'A-Za-z0-9.\n' - <<<"${label:0:60}").log
	: >"$log"
	[ -n "$redraw" ] || return 0
	draw >/dev/null &
	drawer=$!
}

# end ends the part and prints its line.
end() {
	local took=$(($(clock) - began))
	erase
	printf '%5d.%d s  %s\n' $((took / 1000)) $((took % 1000 / 100)) "$label" >&2
}

# erase takes the line of the part off the terminal.
erase() {
	[ -n "$drawer" ] || return 0
	{ kill "$drawer" && wait "$drawer"; } 2>/dev/null || true
	printf %s "$redraw" >&2
}

draw() {
	local status percent bar
	exec 9>build/log/.line
	flock 9
	# This process ignores control-C, like everything that a script starts in the background.
	while kill -0 $$ 2>/dev/null; do
		bar=
		# A status line is: dlstatus or pmstatus, what apt works on, the percentage, a text.
		status=$(grep -a '^[dp][lm]status:' "$log" | tail -n 1) || true
		if [ -n "$status" ]; then
			percent=$(cut -d: -f3 <<<"$status")
			percent=${percent%%[!0-9]*}
			bar=$(printf '%*s' $((${percent:-0} / 5)) '')
			bar=${bar// /=}'>'
			bar=$(printf ' %s[%-20s] %d %% %s' "$dim" "${bar:0:20}" "${percent:-0}" "$([[ $status = d* ]] && echo downloaded || echo installed)")
		fi
		# Without automatic wrapping, a long line can be drawn again.
		printf '%s\e[?7l%5d s    %s%s%s\e[?7h' "$redraw" $((($(clock) - began) / 1000)) "$label" "$bar" "$plain" >&2
		sleep 0.2 9>&-
	done
}

# try LABEL COMMAND... runs a command as a part, with all that the command writes in the part's log. It returns the command's
# status. A command that is a function must return its failure: set -e does not work in it.
try() {
	local status=0
	begin "$1"
	"${@:2}" >>"$log" 2>&1 </dev/null || status=$?
	if [ $status = 0 ]; then end; else erase; fi
	return $status
}

# offline succeeds if apt or Go says in the part's log that the network cannot be reached.
offline() {
	grep -qaE 'Could not (resolve|connect)|Temporary failure|[Cc]onnection (refused|timed out)|Network is unreachable|no such host|i/o timeout' "$log"
}

# part LABEL COMMAND... is try, and ends the script with the reason if the command fails.
part() { try "$@" || failed; }

# failed ends the script with what the log of the last part says. Of parts that run at the same time, only the first that fails
# says so: often all fail for the same reason.
failed() {
	if [ -n "${FIRST_FAILURE:-}" ] && ! (set -C && : >"$FIRST_FAILURE") 2>/dev/null; then exit 1; fi
	if offline; then
		die "cannot $label: the network cannot be reached; $log says more"
	elif grep -qai 'no space left on device' "$log"; then
		die "cannot $label: no space left on the disk; $log says where"
	fi
	grep -av '^[dp][lm]status:' "$log" | tail -n 15 | sed 's/^/  | /' >&2
	die "cannot $label: these are the last lines of $log"
}

# need_go fails unless Go can build this module. Since version 1.21 Go downloads the version that go.mod asks for, except with
# GOTOOLCHAIN=local.
need_go() {
	local version found
	version=$(sed -n 's/^go //p' go.mod)
	found=$(command -v go) || die "Go is missing: install Go $version or newer (https://go.dev/dl/)"
	GOPROXY=off go list -m >/dev/null 2>&1 || try "download Go $version" go list -m ||
		die "Go $version or newer is needed (https://go.dev/dl/), but $found is $(GOTOOLCHAIN=local go version | cut -d' ' -f3) and cannot download it"
}

# distribution prints debian, fedora, arch or alpine: this machine's distribution or the one that it is made from.
distribution() {
	# shellcheck disable=SC1091
	case " $(. "$MACHINE/etc/os-release" 2>/dev/null && echo "${ID:-} ${ID_LIKE:-}") " in
	*' debian '* | *' ubuntu '*) echo debian ;;
	*' fedora '* | *' rhel '*) echo fedora ;;
	*' arch '*) echo arch ;;
	*' alpine '*) echo alpine ;;
	esac
}

# install_command PACKAGE... prints the command that installs packages on this distribution. The names are Debian's.
install_command() {
	local distribution package names=()
	distribution=$(distribution)
	for package in "$@"; do
		case $distribution-$package in
		fedora-qemu-system-x86) package=qemu-system-x86-core ;;
		fedora-qemu-system-arm) package=qemu-system-aarch64-core ;;
		alpine-qemu-system-x86) package=qemu-system-x86_64 ;;
		arch-qemu-system-arm | alpine-qemu-system-arm) package=qemu-system-aarch64 ;;
		fedora-xz-utils | arch-xz-utils | alpine-xz-utils) package=xz ;;
		esac
		names+=("$package")
	done
	case $distribution in
	debian) echo "apt-get install ${names[*]}" ;;
	fedora) echo "dnf install ${names[*]}" ;;
	arch) echo "pacman -S ${names[*]}" ;;
	alpine) echo "apk add ${names[*]}" ;;
	*) echo "install ${names[*]} (Debian's names)" ;;
	esac
}

# The packages that want has found missing, and a file of each.
missing=() missing_files=()

# want PACKAGE FILE... adds the package to the missing ones if none of the files exists. A name without a slash is looked up in
# PATH.
want() {
	local file
	for file in "${@:2}"; do
		case $file in
		*/*) [ ! -e "$file" ] || return 0 ;;
		*) ! command -v "$file" >/dev/null || return 0 ;;
		esac
	done
	missing+=("$1") missing_files+=("${2##*/}")
}

# can_install fails with one line if this user cannot install the missing packages. It asks for sudo's password while no part
# draws on the terminal.
can_install() {
	[ ${#missing[@]} -gt 0 ] || return 0
	local what="missing: ${missing_files[*]}" command
	command=$(install_command "${missing[@]}")
	command -v apt-get >/dev/null || die "$what. To install, as root: $command"
	[ "$(id -u)" != 0 ] || return 0
	command -v sudo >/dev/null || die "$what, and this user is not root and has no sudo. As root: $command"
	sudo -n true 2>/dev/null || { : </dev/tty && sudo -v; } 2>/dev/null ||
		die "$what, and sudo asks for a password. In a terminal: sudo $command"
}

# install_missing installs the packages that want has found missing.
install_missing() {
	[ ${#missing[@]} -gt 0 ] || return 0
	can_install
	part "install ${missing[*]}" install_packages "${missing[@]}"
	missing=() missing_files=()
}

# need PACKAGE FILE... installs the package if none of the files exists.
need() {
	want "$@"
	install_missing
}

# as_root COMMAND... runs a command as root, with sudo if this user is not root.
as_root() {
	if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# install_packages PACKAGE... installs packages. It waits for another apt, such as the machine's daily one, to end. The package
# lists may be missing, or name versions that the mirror no longer has. sudo closes all descriptors above 2, so apt writes its
# status to the log.
install_packages() {
	local install=(apt-get -q -y -o APT::Status-Fd=1 -o DPkg::Lock::Timeout=300 install --no-install-recommends "$@")
	as_root env DEBIAN_FRONTEND=noninteractive "${install[@]}" || {
		as_root apt-get -q update && as_root env DEBIAN_FRONTEND=noninteractive "${install[@]}"
	}
}

# go_for OS ARCH makes the go command build for a system, with nothing of this machine in the program: the architecture's
# baseline, no VCS revision, no settings of the user.
go_for() {
	export GOOS=$1 GOARCH=$2 CGO_ENABLED=0 GOAMD64=v1 GOARM64=v8.0 GOFLAGS=-buildvcs=false GOEXPERIMENT='' GOFIPS140=off
}
