#!/usr/bin/env bash
# docker.sh OUT ENGINE [nft|legacy|nftables] makes an EROFS disk of Debian's packages: a container engine and what it runs,
# with mount points for arcinit to go on there with root=. The engine is
#
#	20.10, 26.1   what a release of Debian has
#	28.5          the same; if none has it any more, a later one that a release has, which is said
#	29            dockerd and docker-proxy built from moby's Go module, beside the packages of 28.5
#
# Its firewall is written by iptables-nft, unless iptables-legacy is asked for, or by the engine itself over nftables, which
# 29 can. What was made is kept in the cache by the content of all that it was made from.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/debs.sh"
. "$(dirname "$0")/disks.sh"

out=$1 engine=$2 tables=${3:-nft}
moby=github.com/moby/moby/v2@v2.0.0-beta.24

# Releases that have the engine, and how versions of it begin.
case $engine in
20.10) suites=bookworm versions=20.10. ;;
26.1) suites=trixie versions=26.1. ;;
28.5 | 29) suites="forky sid" versions=28.5. ;;
*) die "no engine $engine: only 20.10, 26.1, 28.5 and 29" ;;
esac
case $engine-$tables in
29-nftables | [0-9.]*-nft | 28.5-legacy) ;;
*) die "engine $engine with $tables is not known: only with nft, 28.5 with legacy, and 29 with nftables" ;;
esac
need erofs-utils mkfs.erofs
[ "$DISTRIBUTION" = debian ] || die "the engines come from releases of Debian, and this is $DISTRIBUTION"

# solve PACKAGE... lists the packages and what apt would install for them.
solve() {
	own_apt apt-get install --simulate --no-install-recommends "$@" | awk '$1 == "Inst" { print $2 }'
}

# take SUITE PATTERN finds the packages, if the release has an engine of a version that matches and all that it needs, which
# a release under way may not.
take() {
	local wanted
	use_suite "$1"
	has=$(own_apt apt-cache show --no-all-versions docker.io 2>/dev/null | awk '$1 == "Version:" { print $2 }')
	[[ $has =~ ^$2 ]] || return 1
	wanted=(docker.io containerd runc iptables tini busybox-static)
	# The client has become a package of its own.
	! known docker-cli || wanted+=(docker-cli)
	[ "$tables" != nftables ] || wanted+=(nftables)
	solved=$(solve "${wanted[@]}")
}

# take_any PATTERN takes the first of the releases that has it.
take_any() {
	local suite
	for suite in $suites; do
		! take "$suite" "$1" || return 0
	done
	return 1
}

if ! take_any "${versions//./[.]}"; then
	[ "$versions" = 28.5. ] || die "$suites: there is no docker.io $engine"
	# They have moved on, which is nobody's fault: what holds from 28 on is to hold for what comes after.
	take_any '(28|29|[3-9][0-9])[.]' || die "$suites: there is no docker.io 28 or later"
	say "NO RELEASE OF DEBIAN HAS docker.io $versions* ANY MORE ($suites): taking $has"
fi
# What packages need to be installed, which they are not here.
mapfile -t packages < <(grep -vE '^(adduser|base-passwd|debconf|dpkg|passwd|systemd|usrmerge|.*perl.*)$' <<<"$solved")
debs=$(download "${packages[@]}")

# go_programs DIR builds moby's programs in DIR. A program for another architecture gets a directory of its own.
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

# The .debs are named by their content.
key=$({ cat "$0" scripts/disks.sh && echo "$ARCH $tables ${programs##*/}" && printf '%s\n' "${debs//"$CACHE"/}"; } | sha256sum)
kept=$CACHE/docker/${key%% *}.erofs
if [ ! -e "$kept" ]; then
	mkdir -p "$CACHE/docker"
	temp=$(mktemp -d "$CACHE/docker/make.XXXXXX")
	trap 'rm -rf "$temp"' EXIT
	root=$temp/root
	say "laying out the engine $has with $tables"
	lay_out_root "$root" '*/ctr' <<<"$debs"
	[ -z "$programs" ] || cp "$programs"/* "$root/usr/sbin/"
	# For a person who looks around.
	for command in sh cat cp df dmesg env free grep head hostname id ip kill ls mkdir mount mv ping ps rm sed sleep sort \
		stat tail top touch umount uname vi wc wget; do
		[ -e "$root/bin/$command" ] || ln -s busybox "$root/bin/$command"
	done
	# Packages have these made when they are installed.
	for program in iptables iptables-save iptables-restore ip6tables ip6tables-save ip6tables-restore; do
		ln -sf "xtables-${tables%ables}-multi" "$root/usr/sbin/$program"
	done
	for program in dockerd docker docker-proxy containerd containerd-shim-runc-v2 runc iptables; do
		[ -n "$(find "$root/usr/bin" "$root/usr/sbin" -name "$program")" ] || die "no $program in ${packages[*]}"
	done
	pack_root "$root" "$kept"
fi
mkdir -p "$(dirname "$out")"
cp "$kept" "$out.tmp"
mv "$out.tmp" "$out"
