# shellcheck shell=bash
# Functions to use the distribution's packages without installing them; sourced after lib.sh.
#
# apt gets its own directories for each architecture. So these functions need no root, do not touch the machine's package
# lists, and need no dpkg --add-architecture. apt uses the machine's sources and keys, and checks the signatures.

# shellcheck disable=SC1091
DISTRIBUTION=$(. /etc/os-release && echo "$ID")
# shellcheck disable=SC1091
MACHINES_APT_DIR=$CACHE/apt/$(. /etc/os-release && echo "$ID-${VERSION_ID:-rolling}")-$ARCH
APT_DIR=$MACHINES_APT_DIR

# Options that choose apt's sources. use_suite sets them; without them apt uses the machine's.
APT_SOURCES=()

# own_apt apt-get|apt-cache ARGUMENT... runs apt on its own directories.
own_apt() {
	local program=$1
	shift
	"$program" -c "$APT_DIR/apt.conf" -q \
		-o Dir::State="$APT_DIR" -o Dir::State::Lists="$APT_DIR/lists" -o Dir::State::status=/dev/null \
		-o Dir::Cache="$APT_DIR/cache" -o APT::Architecture="$ARCH" -o APT::Architectures="$ARCH" \
		-o APT::Sandbox::User="$(id -un)" \
		"${APT_SOURCES[@]}" \
		-o Acquire::Languages=none -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false \
		"$@"
}

# update_lists downloads the package lists. Without the option, apt-get update succeeds even if every download fails. A mirror
# that is in the middle of an update usually answers the second time.
update_lists() {
	local update=(own_apt apt-get -o APT::Update::Error-Mode=any -o APT::Status-Fd=1 update)
	"${update[@]}" || { ! offline && "${update[@]}"; }
}

# update_apt updates the package lists, at most once a day.
update_apt() {
	command -v apt-get >/dev/null ||
		die "the stock kernel comes from Debian's or Ubuntu's packages, and this machine has no apt"
	mkdir -p "$APT_DIR/lists/partial" "$APT_DIR/cache/archives/partial"
	# The machine's update hooks are for its own lists and for root.
	printf '#clear APT::Update::%s;\n' Pre-Invoke Post-Invoke Post-Invoke-Success >"$APT_DIR/apt.conf"
	# Parts that run at the same time wait for the first to read the lists.
	exec 8>"$APT_DIR/lock"
	flock 8
	if [ -n "$(find "$APT_DIR/updated" -mtime -1 2>/dev/null)" ]; then
		:
	elif try "read the package lists of ${APT_DIR##*/}" update_lists; then
		touch "$APT_DIR/updated"
	elif [ -e "$APT_DIR/updated" ]; then
		say "apt-get update failed; using the old package lists"
	else
		failed
	fi
	exec 8>&-
}

# known PACKAGE succeeds if apt knows the package.
known() { own_apt apt-cache show --no-all-versions "$1" >/dev/null 2>&1; }

# with_dependencies PACKAGE... lists the packages and all their dependencies.
with_dependencies() {
	own_apt apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces \
		--no-enhances "$@" | grep -E '^[a-z0-9]' | sort -u
}

# solve PACKAGE... lists all packages that apt would install for these.
solve() {
	own_apt apt-get install --simulate --no-install-recommends "$@" | awk '$1 == "Inst" { print $2 }'
}

# fetch DIR PACKAGE... downloads the packages that the cache lacks, and writes all SHA256 sums to DIR/sums. The cache names
# each .deb by the sum in apt's metadata.
fetch() {
	local dir=$1 package sum size bytes=0 absent=()
	shift
	# The fields are in any order; an empty line ends a package.
	{ own_apt apt-cache show --no-all-versions "$@" && echo; } | awk '
		$1 == "Package:" { package = $2 } $1 == "SHA256:" { sum = $2 } $1 == "Size:" { size = $2 }
		/^$/ && package { print package, sum, size; package = "" }' >"$dir/sums"
	while read -r package sum size; do
		[ -e "$CACHE/debs/$sum.deb" ] || absent+=("$package") bytes=$((bytes + size))
	done <"$dir/sums"
	[ ${#absent[@]} -gt 0 ] || return 0
	local what=${absent[*]}
	[ ${#absent[@]} -le 3 ] || what="${#absent[@]} packages"
	try "download $what, $((bytes / 1000000)) MB" download_to "$dir" "${absent[@]}" || return
	for package in "$dir"/*.deb; do
		sum=$(sha256sum "$package")
		mv "$package" "$CACHE/debs/${sum%% *}.deb"
	done
}

# download_to DIR PACKAGE... downloads packages into a directory.
download_to() { (cd "$1" && own_apt apt-get -o APT::Status-Fd=1 download "${@:2}"); }

# download PACKAGE... prints the path of each package's .deb in the cache.
download() {
	local temp package sum size
	mkdir -p "$CACHE/debs"
	temp=$(mktemp -d "$CACHE/debs/download.XXXXXX")
	fetch "$temp" "$@" || {
		# The lists may be a day old and name versions that the mirror no longer has.
		rm -f "$APT_DIR/updated"
		update_apt
		fetch "$temp" "$@" || failed
	}
	# A .deb with an unexpected sum is in the cache under that sum, so its expected name is missing.
	while read -r package sum size; do
		[ -e "$CACHE/debs/$sum.deb" ] || die "$package does not have the checksum of apt's metadata, $sum"
		echo "$CACHE/debs/$sum.deb"
	done <"$temp/sums"
	rm -r "$temp"
}

# lay_out DIR PACKAGE PROGRAM... puts programs of a package into DIR/bin, with all libraries of the package's dependencies.
# The programs then run on a system with no other file of the distribution:
#
#	DIR/ld.so --library-path DIR/lib DIR/bin/PROGRAM
lay_out() {
	local dir=$1 package=$2 temp=$1.tmp program packages debs deb file
	shift 2
	mapfile -t packages < <(with_dependencies "$package")
	rm -rf "$dir" "$temp"
	mkdir -p "$temp/unpacked" "$temp/lib" "$temp/bin"
	debs=$(download "${packages[@]}")
	for deb in $debs; do
		dpkg -x "$deb" "$temp/unpacked"
	done
	# Some distributions have libraries in /lib, others in /usr/lib: put them all in one directory.
	find "$temp/unpacked" -name 'lib*.so*' ! -path '*/gconv/*' ! -path '*/xtables/*' -exec cp -P {} "$temp/lib/" \;
	find "$temp/unpacked" -type d -name xtables -exec cp -R {} "$temp/lib/" \;
	# Some links to ld.so are absolute and would dangle, so the file itself is copied.
	find "$temp/unpacked" -type f -name 'ld-*.so*' -exec cp {} "$temp/ld.so" \;
	# Some distributions have programs in /sbin, others in /usr/sbin.
	for program in "$@"; do
		find "$temp/unpacked" -type f -perm -u=x -name "$program" -exec cp {} "$temp/bin/" \;
	done
	for file in ld.so "${@/#/bin/}"; do
		[ -x "$temp/$file" ] || die "no ${file##*/} in ${packages[*]}"
	done
	rm -rf "$temp/unpacked"
	mv "$temp" "$dir"
}

# use_suite SUITE makes the functions above use another release of the distribution, from the machine's own mirror.
use_suite() {
	local mirror
	APT_DIR=$MACHINES_APT_DIR APT_SOURCES=()
	update_apt
	# shellcheck disable=SC2016 # apt expands the variables
	mirror=$(own_apt apt-get indextargets --format '$(CREATED_BY) $(COMPONENT) $(ORIGIN) $(REPO_URI) $(SIGNED_BY)' |
		awk 'tolower($1 $2 $3) == "packagesmain'"$DISTRIBUTION"'" { print $4, $5; exit }')
	[ -n "$mirror" ] || die "the machine's apt sources name no mirror of $DISTRIBUTION"
	APT_DIR=$CACHE/apt/$DISTRIBUTION-$1-$ARCH
	mkdir -p "$APT_DIR"
	case $mirror in
	*' /'*) echo "deb [signed-by=${mirror#* }] ${mirror% *} $1 main" ;;
	*) echo "deb ${mirror% *} $1 main" ;;
	esac >"$APT_DIR/sources.list"
	APT_SOURCES=(-o Dir::Etc::SourceList="$APT_DIR/sources.list" -o Dir::Etc::SourceParts=/dev/null)
	update_apt
}
