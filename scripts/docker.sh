#!/usr/bin/env bash
# docker.sh OUT ENGINE [nft|legacy] makes an EROFS disk of Debian's packages: a container engine and what it runs, with mount
# points for arcinit to go on there with root=. The engine is 20.10, 26.1 or 28.5, which is what a release of Debian has;
# iptables is the nft one, unless legacy is asked for. What was made is kept in the cache by the content of all that it was
# made from.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/debs.sh"

out=$1 engine=$2 tables=${3:-nft}

case $engine in
20.10) suite=bookworm ;;
26.1) suite=trixie ;;
28.5) suite=sid ;;
*) die "no engine $engine: only 20.10, 26.1 and 28.5" ;;
esac
case $tables in
nft | legacy) ;;
*) die "no iptables-$tables: only nft and legacy" ;;
esac
need erofs-utils mkfs.erofs
[ "$DISTRIBUTION" = debian ] || die "the engines come from releases of Debian, and this is $DISTRIBUTION"

# solve PACKAGE... lists the packages and what apt would install for them.
solve() {
	own_apt apt-get install --simulate --no-install-recommends "$@" | awk '$1 == "Inst" { print $2 }'
}

use_suite "$suite"
has=$(own_apt apt-cache show --no-all-versions docker.io | awk '$1 == "Version:" { print $2 }')
[[ $has == "$engine".* ]] || die "$suite has docker.io $has, and no longer $engine"
wanted=(docker.io containerd runc iptables tini busybox-static)
# The client has become a package of its own.
! known docker-cli || wanted+=(docker-cli)
solved=$(solve "${wanted[@]}")
# What packages need to be installed, which they are not here.
mapfile -t packages < <(grep -vE '^(adduser|base-passwd|debconf|dpkg|passwd|systemd|usrmerge|.*perl.*)$' <<<"$solved")
debs=$(download "${packages[@]}")

# The .debs are named by their content.
key=$({ cat "$0" && echo "$ARCH $tables" && printf '%s\n' "${debs//"$CACHE"/}"; } | sha256sum)
kept=$CACHE/docker/${key%% *}.erofs
if [ ! -e "$kept" ]; then
	mkdir -p "$CACHE/docker"
	temp=$(mktemp -d "$CACHE/docker/make.XXXXXX")
	trap 'rm -rf "$temp"' EXIT
	root=$temp/root
	say "laying out docker.io $has with iptables-$tables"
	mkdir -p "$root"/usr/{bin,sbin,lib,lib64} \
		"$root"/{proc,sys,dev,run,tmp,var,etc,root,mnt,cacerts,arcbox,private,Users,media/rosetta}
	for link in bin sbin lib lib64; do
		ln -s "usr/$link" "$root/$link"
	done
	for deb in $debs; do
		# Releases differ in whether they have /bin or /usr/bin in their packages.
		dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$root" --no-same-owner --keep-directory-symlink \
			--exclude='./var' --exclude='./usr/share' --exclude='*/gconv' --exclude='*/ctr'
	done
	ln -s busybox "$root/bin/sh"
	# Packages have these made when they are installed.
	for program in iptables iptables-save iptables-restore ip6tables ip6tables-save ip6tables-restore; do
		ln -sf "xtables-$tables-multi" "$root/usr/sbin/$program"
	done
	for program in dockerd docker docker-proxy containerd containerd-shim-runc-v2 runc iptables; do
		[ -n "$(find "$root/usr/bin" "$root/usr/sbin" -name "$program")" ] || die "no $program in ${packages[*]}"
	done
	# The same tree is the same disk.
	mkfs.erofs --quiet --all-root -T0 -U00000000-0000-0000-0000-000000000000 "$temp/disk" "$root" >&2
	mv "$temp/disk" "$kept"
fi
mkdir -p "$(dirname "$out")"
cp "$kept" "$out.tmp"
mv "$out.tmp" "$out"
