#!/usr/bin/env bash
# dhcp-servers.sh OUT makes an EROFS disk from the distribution's packages: the DHCP server that TestDHCPServers runs in a guest,
# and busybox. The cache keeps each disk under the checksum of everything that it was made from.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/debs.sh"
. "$(dirname "$0")/disks.sh"

out=$1
need erofs-utils mkfs.erofs
update_apt
mapfile -t packages < <(solve dnsmasq-base busybox | grep -vE '^(adduser|debconf|dpkg|passwd|mawk|perl.*|debianutils)$')
debs=$(download "${packages[@]}")

# lay_out_servers ROOT lays out the disk's files.
lay_out_servers() {
	local root=$1 deb command program
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
}

# The .debs are named by their content.
{ cat "$0" scripts/disks.sh && echo "$ARCH" && printf '%s\n' "${debs//"$CACHE"/}"; } | keep_disk dhcp-servers "$out" lay_out_servers
