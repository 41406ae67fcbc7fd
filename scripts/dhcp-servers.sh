#!/usr/bin/env bash
# dhcp-servers.sh OUT makes an EROFS disk from the distribution's packages: the DHCP server that TestDHCPServers runs in a guest,
# and busybox. The cache keeps each disk under the checksum of everything that it was made from.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/debs.sh"
. "$(dirname "$0")/disks.sh"

out=$1
need erofs-utils mkfs.erofs
update_apt
mapfile -t packages < <(own_apt apt-get install --simulate --no-install-recommends dnsmasq-base busybox | awk '$1 == "Inst" { print $2 }' | grep -vE '^(adduser|debconf|dpkg|passwd|mawk|perl.*|debianutils)$')
debs=$(download "${packages[@]}")

# The .debs are named by their content.
key=$({ cat "$0" scripts/disks.sh && echo "$ARCH" && printf '%s\n' "${debs//"$CACHE"/}"; } | sha256sum)
kept=$CACHE/dhcp-servers/${key%% *}.erofs
if [ ! -e "$kept" ]; then
	mkdir -p "$CACHE/dhcp-servers"
	temp=$(mktemp -d "$CACHE/dhcp-servers/make.XXXXXX")
	trap 'rm -rf "$temp"' EXIT
	root=$temp/root
	say "laying out the DHCP servers"
	lay_out_root "$root" '*/udev' <<<"$debs"
	# docs/dhcp.md names the servers' versions.
	for deb in $debs; do
		# shellcheck disable=SC2016 # dpkg-deb expands the fields
		dpkg-deb --show --showformat '${Package} ${Version}\n' "$deb"
	done >"$root/versions"
	for command in sh cat chroot kill ls mkdir mount rm sleep; do
		[ -e "$root/bin/$command" ] || ln -s busybox "$root/bin/$command"
	done
	for program in dnsmasq busybox; do
		[ -n "$(find "$root/usr" -name "$program")" ] || die "no $program in ${packages[*]}"
	done
	pack_root "$root" "$kept"
fi
mkdir -p "$(dirname "$out")"
cp "$kept" "$out.tmp"
mv "$out.tmp" "$out"
