# shellcheck shell=bash
# Root file systems of the distribution's packages; sourced, after lib.sh. What is kept of them in the cache is keyed by this
# file, too.

# lay_out_root DIR PATTERN lays out in DIR what a container VM's own disk holds: the packages whose .debs standard input
# names, and the mount points of the set-up. Their files in /var and of documentation and locales are left out, and those
# that the pattern matches.
lay_out_root() {
	local root=$1 without=$2 link deb
	mkdir -p "$root"/usr/{bin,sbin,lib,lib64} \
		"$root"/{proc,sys,dev,run,tmp,var,etc,root,mnt,cacerts,arcbox,private,Users,media/rosetta}
	for link in bin sbin lib lib64; do
		ln -s "usr/$link" "$root/$link"
	done
	while read -r deb; do
		# Releases differ in whether they have /bin or /usr/bin in their packages.
		dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$root" --no-same-owner --keep-directory-symlink \
			--exclude='./var' --exclude='./usr/share' --exclude='*/gconv' --exclude="$without"
	done
}

# pack_root DIR FILE makes an EROFS disk of a root file system, beside it, and puts it into place when it is whole. The same
# tree is the same disk.
pack_root() {
	mkfs.erofs --quiet --all-root -T0 -U00000000-0000-0000-0000-000000000000 "$1.erofs" "$1" >&2
	mv "$1.erofs" "$2"
}
