#!/usr/bin/env bash
# docker.sh OUT ENGINE [nft|legacy|nftables] makes an EROFS disk for root= from Debian's packages: a container engine and the
# programs that it needs. The engine is
#
#	20.10, 26.1   from a Debian release
#	28.5          the same; a later version, with a message, if no release has 28.5 any more
#	29            dockerd and docker-proxy built from moby's Go module, with the packages of 28.5
#
# The engine's firewall uses iptables-nft (the default), iptables-legacy, or with 29 nftables without iptables. The cache keeps
# each disk under the checksum of everything that it was made from.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/debs.sh"
. "$(dirname "$0")/disks.sh"

out=$1 engine=$2 tables=${3:-nft}
moby=github.com/moby/moby/v2@v2.0.0-beta.24

# The releases that may have the engine, and the start of its version.
case $engine in
20.10) suites=bookworm versions=20.10. ;;
26.1) suites=trixie versions=26.1. ;;
28.5 | 29) suites="forky sid" versions=28.5. ;;
*) die "no engine $engine: want 20.10, 26.1, 28.5 or 29" ;;
esac
case $engine-$tables in
29-nftables | [0-9.]*-nft | 28.5-legacy) ;;
*) die "no engine $engine with $tables: want nft, 28.5 with legacy, or 29 with nftables" ;;
esac
need erofs-utils mkfs.erofs
[ "$DISTRIBUTION" = debian ] || die "the engines come from Debian releases, but this machine runs $DISTRIBUTION"

# take SUITE PATTERN finds the packages if the release has an engine whose version matches. It fails if dependencies are
# missing, which happens in a release under development.
take() {
	local wanted
	use_suite "$1"
	has=$(own_apt apt-cache show --no-all-versions docker.io 2>/dev/null | awk '$1 == "Version:" { print $2 }')
	[[ $has =~ ^$2 ]] || return 1
	wanted=(docker.io containerd runc iptables tini busybox-static)
	# In newer releases the client is a separate package.
	! known docker-cli || wanted+=(docker-cli)
	[ "$tables" != nftables ] || wanted+=(nftables)
	solved=$(solve "${wanted[@]}")
}

# take_any PATTERN takes the first release with a matching engine.
take_any() {
	local suite
	for suite in $suites; do
		! take "$suite" "$1" || return 0
	done
	return 1
}

if ! take_any "${versions//./[.]}"; then
	[ "$versions" = 28.5. ] || die "$suites: no docker.io $engine"
	# The releases have moved on. The tests for 28 must pass on later versions too.
	take_any '(28|29|[3-9][0-9])[.]' || die "$suites: no docker.io 28 or later"
	say "NO RELEASE OF DEBIAN HAS docker.io $versions* ANY MORE ($suites): taking $has"
fi
# Leave out the packages that are only needed to install the others.
mapfile -t packages < <(grep -vE '^(adduser|base-passwd|debconf|dpkg|passwd|systemd|usrmerge|.*perl.*)$' <<<"$solved")
debs=$(download "${packages[@]}")

# go_programs DIR builds moby's programs in DIR. go install puts a cross-compiled program into a subdirectory of bin, so find
# looks for it.
go_programs() {
	local gopath=$1.gopath program
	rm -rf "$1" "$gopath"
	mkdir -p "$1"
	for program in dockerd docker-proxy; do
		say "building $program of $moby"
		env GOPATH="$gopath" GOMODCACHE="$(go env GOMODCACHE)" GOFLAGS= GOBIN= GOOS=linux GOARCH="$ARCH" CGO_ENABLED=0 \
			go install -trimpath -ldflags "-s -w -X ${moby%@*}/dockerversion.Version=${moby#*@v}" "${moby%@*}/cmd/$program@${moby#*@}" >&2
		find "$gopath/bin" -name "$program" -exec mv {} "$1/" \;
		[ -x "$1/$program" ] || die "no $program in $moby"
	done
	rm -r "$gopath"
}

programs=
if [ "$engine" = 29 ]; then
	has=${moby#*@}
	programs=$CACHE/engines/${moby#*@}-$ARCH-$(go env GOVERSION)
	if [ ! -d "$programs" ]; then
		mkdir -p "$CACHE/engines"
		temp=$(mktemp -d "$CACHE/engines/build.XXXXXX")
		trap 'rm -rf "$temp"' EXIT
		go_programs "$temp/programs"
		mv -T "$temp/programs" "$programs" 2>/dev/null || [ -d "$programs" ]
		rm -rf "$temp"
	fi
fi

# lay_out_engine ROOT lays out the disk's files.
lay_out_engine() {
	local root=$1 command program
	say "laying out the engine $has with $tables"
	lay_out_root "$root" '*/ctr' <<<"$debs"
	[ -z "$programs" ] || cp "$programs"/* "$root/usr/sbin/"
	# Commands for a person in a shell.
	for command in sh cat cp df dmesg env free grep head hostname id ip kill ls mkdir mount mv ping ps rm sed sleep sort \
		stat tail top touch umount uname vi wc wget; do
		[ -e "$root/bin/$command" ] || ln -s busybox "$root/bin/$command"
	done
	# Debian makes these links when the package is installed.
	for program in iptables iptables-save iptables-restore ip6tables ip6tables-save ip6tables-restore; do
		ln -sf "xtables-${tables%ables}-multi" "$root/usr/sbin/$program"
	done
	for program in dockerd docker docker-proxy containerd containerd-shim-runc-v2 runc iptables; do
		[ -n "$(find "$root/usr/bin" "$root/usr/sbin" -name "$program")" ] || die "no $program in ${packages[*]}"
	done
}

# The .debs are named by their content.
{ cat "$0" scripts/disks.sh && echo "$ARCH $tables ${programs##*/}" && printf '%s\n' "${debs//"$CACHE"/}"; } |
	keep_disk docker "$out" lay_out_engine
