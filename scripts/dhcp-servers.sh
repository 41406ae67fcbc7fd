#!/usr/bin/env bash
# dhcp-servers.sh OUT makes an EROFS disk from the distribution's packages: the DHCP servers that TestDHCPServers runs in a guest,
# and busybox. The cache keeps each disk under the checksum of everything that it was made from.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/debs.sh"
. "$(dirname "$0")/disks.sh"

out=$1
need erofs-utils mkfs.erofs
update_apt
# Left out are large packages that only install others or run their scripts.
mapfile -t packages < <(solve dnsmasq-base kea-dhcp4-server isc-dhcp-server busybox systemd |
	grep -vE '^(adduser|debconf|debianutils|dpkg|lib.*perl.*|mawk|mount|passwd|perl.*|tar|usrmerge)$')
debs=$(download "${packages[@]}")

# lay_out_servers ROOT lays out the disk's files.
lay_out_servers() {
	local root=$1 deb command
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
	keep_servers "$(realpath "$root")"
}

# keep_servers ROOT deletes what no server loads, which is most of what the packages have. It fails if a library is missing: the
# library may be in a package that is left out above.
keep_servers() {
	local root=$1 loader dirs program file keep
	loader=$(find "$root/usr/" -type f -name 'ld-linux-*')
	dirs=$(find "$root/usr/lib" -name '*.so*' -printf '%h\n' | sort -u | paste -sd:)
	keep=("$loader")
	for program in busybox dnsmasq kea-dhcp4 dhcpd systemd-networkd; do
		program=$(find "$root/usr" -type f -perm -u=x -name "$program")
		[ -n "$program" ] || die "a server is missing in ${packages[*]}"
		keep+=("$program")
		while read -r file; do
			keep+=("$file")
		done < <("$loader" --inhibit-cache --library-path "$dirs" --list "$program" | awk '/ => / { print $3 }')
	done
	for file in "${keep[@]}"; do
		[[ $file = "$root"/* ]] || die "a server's library is missing in ${packages[*]}"
	done
	find "$root/usr" -type f | grep -vxFf <(realpath "${keep[@]}") | xargs -d '\n' rm
	find "$root/usr" -xtype l -delete
}

# The .debs are named by their content.
{ cat "$0" scripts/disks.sh && echo "$ARCH" && printf '%s\n' "${debs//"$CACHE"/}"; } | keep_disk dhcp-servers "$out" lay_out_servers
