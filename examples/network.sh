#!/usr/bin/env bash
# network.sh up|down makes or removes the host's side of a guest's two NICs, for VMMs on Linux: arcinit0 with NAT, arcinit1 from
# which the host reaches containers, and a DHCP server for both. It needs root, dnsmasq, ip and nft.
set -euo pipefail
pid=/run/arcinit-dnsmasq.pid

up() {
	local nic net
	for nic in "arcinit0 192.168.126" "arcinit1 192.168.127"; do
		read -r nic net <<<"$nic"
		ip tuntap add dev "$nic" mode tap
		ip address add "$net.1/24" dev "$nic"
		ip link set "$nic" up
	done
	nft -f - <<-'EOF'
		table ip arcinit {
			chain nat {
				type nat hook postrouting priority srcnat
				ip saddr 192.168.126.0/24 oifname != "arcinit0" masquerade
			}
		}
	EOF
	sysctl -qw net.ipv4.ip_forward=1
	dnsmasq --conf-file=/dev/null --pid-file="$pid" --dhcp-leasefile=/run/arcinit-leases --bind-interfaces --except-interface=lo \
		--interface=arcinit0 --dhcp-range=192.168.126.2,192.168.126.200 \
		--interface=arcinit1 --dhcp-range=192.168.127.2,192.168.127.200
}

# down removes what is there, also after half an up.
down() {
	[ ! -e "$pid" ] || kill "$(<"$pid")" || true
	rm -f "$pid"
	nft delete table ip arcinit 2>/dev/null || true
	for nic in arcinit0 arcinit1; do
		ip link delete "$nic" 2>/dev/null || true
	done
}

case ${1:-} in
up) up ;;
down) down ;;
*)
	echo "usage: network.sh up|down" >&2
	exit 2
	;;
esac
