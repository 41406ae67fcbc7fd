# shellcheck shell=bash
# Functions that make root file systems from the distribution's packages; sourced after lib.sh. The cached disks' keys
# include this file.

# lay_out_root DIR PATTERN puts into DIR the files of a container VM's own disk: the packages whose .debs standard input names,
# and arcinit's mount points. It leaves out the packages' /var and /usr/share, and files that match the pattern.
lay_out_root() {
	local root=$1 without=$2 link deb
	mkdir -p "$root"/usr/{bin,sbin,lib,lib64} \
		"$root"/{proc,sys,dev,run,tmp,var,etc,root,mnt,cacerts,arcbox,private,Users,media/rosetta}
	for link in bin sbin lib lib64; do
		ln -s "usr/$link" "$root/$link"
	done
	while read -r deb; do
		# Some releases have /bin in their packages, others /usr/bin.
		dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$root" --no-same-owner --keep-directory-symlink \
			--exclude='./var' --exclude='./usr/share' --exclude='*/gconv' --exclude="$without"
	done
}

# pack_root DIR FILE packs a root file system into an EROFS disk, and renames the disk into place when it is complete. The same
# tree gives the same bytes.
pack_root() {
	mkfs.erofs --quiet --all-root -T0 -U00000000-0000-0000-0000-000000000000 "$1.erofs" "$1" >&2
	mv "$1.erofs" "$2"
}

# keep_disk KIND OUT MAKE puts a disk at OUT. The cache keeps it in the folder KIND, under the checksum of standard input, which names
# everything that the disk is made from. A disk that is not in the cache is packed from what MAKE lays out in the directory it gets.
keep_disk() {
	local key kept temp
	key=$(sha256sum)
	kept=$CACHE/$1/${key%% *}.erofs
	if [ ! -e "$kept" ]; then
		mkdir -p "$CACHE/$1"
		temp=$(mktemp -d "$CACHE/$1/make.XXXXXX")
		(
			trap 'rm -rf "$temp"' EXIT
			"$3" "$temp/root"
			pack_root "$temp/root" "$kept"
		)
	fi
	mkdir -p "$(dirname "$2")"
	cp "$kept" "$2.tmp"
	mv "$2.tmp" "$2"
}
