#!/usr/bin/env bash
# swapin.sh DIR puts into DIR the files of a container VM's own disk, for guests with root=: busybox and its links,
# iptables-legacy and its libraries, mount points, and a script /sbin/init that starts the agent. The tests add files and
# pack DIR into a file system.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/debs.sh"
. "$(dirname "$0")/disks.sh"

dir=$1 temp=$1.tmp

# The busybox commands in /bin and /sbin.
bin="sh ash cat ls ln cp mv rm mkdir rmdir mknod chmod chown stat readlink echo printf test true false sleep date uname dmesg
ps kill mount umount df sync grep sed awk head tail wc sort cut tr xargs find env id hostname ping tar gzip vi"
sbin="ip ifconfig route udhcpc switch_root pivot_root losetup reboot poweroff halt sysctl modprobe"

update_apt
rm -rf "$dir" "$temp"
mapfile -t packages < <(with_dependencies iptables)
debs=$(download busybox-static "${packages[@]}")
lay_out_root "$temp" ./etc <<<"$debs"
# The package also has iptables-nft.
find "$temp/usr/sbin" -mindepth 1 ! -name xtables-legacy-multi -delete

for command in $bin; do ln -s busybox "$temp/bin/$command"; done
for command in $sbin; do ln -s ../bin/busybox "$temp/sbin/$command"; done
ln -sf xtables-legacy-multi "$temp/sbin/iptables"
cat >"$temp/sbin/init" <<'TRAMPOLINE'
#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t virtiofs arcbox /arcbox
exec /arcbox/bin/arcbox-agent
TRAMPOLINE
chmod 755 "$temp/sbin/init"
for file in bin/busybox sbin/xtables-legacy-multi; do
	[ -x "$temp/$file" ] || die "no ${file##*/} in busybox-static ${packages[*]}"
done
mv "$temp" "$dir"
