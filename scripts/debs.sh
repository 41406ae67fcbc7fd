# shellcheck shell=bash
# Packages of the distribution, used without installing them; sourced, after lib.sh.
#
# apt is given directories of its own, for the architecture in question. So nothing here needs root, the machine's own
# package lists are neither needed nor changed, and packages for another architecture need no dpkg --add-architecture.
# The sources and the keys are the machine's, and apt checks the signatures.

# shellcheck disable=SC1091
DISTRIBUTION=$(. /etc/os-release && echo "$ID")
# shellcheck disable=SC1091
MACHINES_APT_DIR=$CACHE/apt/$(. /etc/os-release && echo "$ID-${VERSION_ID:-rolling}")-$ARCH
APT_DIR=$MACHINES_APT_DIR

# Which sources: the machine's, unless use_suite says otherwise.
APT_SOURCES=()

# own_apt apt-get|apt-cache ARGUMENT... runs apt on those directories.
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

# update_lists has apt read the package lists. By itself apt-get update succeeds when no list could be had, too.
update_lists() { own_apt apt-get -o APT::Update::Error-Mode=any update >&2; }

# update_apt brings the package lists up to date, once a day.
update_apt() {
	command -v apt-get >/dev/null ||
		die "the stock kernel comes from Debian's or Ubuntu's packages, and there is no apt here"
	mkdir -p "$APT_DIR/lists/partial" "$APT_DIR/cache/archives/partial"
	# What the machine does after an update is for its own lists, and for root.
	printf '#clear APT::Update::%s;\n' Pre-Invoke Post-Invoke Post-Invoke-Success >"$APT_DIR/apt.conf"
	[ -z "$(find "$APT_DIR/updated" -mtime -1 2>/dev/null)" ] || return 0
	say "reading the package lists for ${APT_DIR##*/}"
	# A mirror that is busy, or being changed, mostly answers the second time.
	if update_lists || update_lists; then
		touch "$APT_DIR/updated"
	else
		say "apt-get update failed; going on with what there is"
	fi
}

# known PACKAGE says whether there is such a package.
known() { own_apt apt-cache show --no-all-versions "$1" >/dev/null 2>&1; }

# with_dependencies PACKAGE... lists the packages and all that they depend on.
with_dependencies() {
	own_apt apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces \
		--no-enhances "$@" | grep -E '^[a-z0-9]' | sort -u
}

# fetch DIR PACKAGE... has the packages in the cache, which is keyed by the SHA256 in apt's metadata, and the sums in DIR/sums.
fetch() {
	local dir=$1 package sum missing=()
	shift
	own_apt apt-cache show --no-all-versions "$@" |
		awk '$1 == "Package:" { package = $2 } $1 == "SHA256:" { print package, $2 }' >"$dir/sums"
	while read -r package sum; do
		[ -e "$CACHE/debs/$sum.deb" ] || missing+=("$package")
	done <"$dir/sums"
	[ ${#missing[@]} -gt 0 ] || return 0
	say "downloading ${missing[*]}"
	(cd "$dir" && own_apt apt-get download "${missing[@]}" >&2) || return
	for package in "$dir"/*.deb; do
		sum=$(sha256sum "$package")
		mv "$package" "$CACHE/debs/${sum%% *}.deb"
	done
}

# download PACKAGE... prints the path of each package's .deb in the cache.
download() {
	local temp package sum
	mkdir -p "$CACHE/debs"
	temp=$(mktemp -d "$CACHE/debs/download.XXXXXX")
	fetch "$temp" "$@" || {
		# The lists may be a day old, and name what is no longer on the mirror.
		rm -f "$APT_DIR/updated"
		update_apt
		fetch "$temp" "$@" || die "download failed: $*"
	}
	# A package that came with another sum than promised is not there under the promised name.
	while read -r package sum; do
		[ -e "$CACHE/debs/$sum.deb" ] || die "$package is not what apt's metadata say: there is no $sum"
		echo "$CACHE/debs/$sum.deb"
	done <"$temp/sums"
	rm -r "$temp"
}

# lay_out DIR PACKAGE PROGRAM... puts programs of a package into DIR/bin with every library that the package depends on, so
# that they run where there is no other file of the distribution, or another one's:
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
	# Distributions differ in whether libraries are in /lib or /usr/lib: here they are all in one directory.
	find "$temp/unpacked" -name 'lib*.so*' ! -path '*/gconv/*' ! -path '*/xtables/*' -exec cp -P {} "$temp/lib/" \;
	find "$temp/unpacked" -type d -name xtables -exec cp -R {} "$temp/lib/" \;
	# Some of the links to it are absolute, and lead nowhere here.
	find "$temp/unpacked" -type f -name 'ld-*.so*' -exec cp {} "$temp/ld.so" \;
	# Distributions differ in the directory, too.
	for program in "$@"; do
		find "$temp/unpacked" -type f -perm -u=x -name "$program" -exec cp {} "$temp/bin/" \;
	done
	for file in ld.so "${@/#/bin/}"; do
		[ -x "$temp/$file" ] || die "no ${file##*/} in ${packages[*]}"
	done
	rm -rf "$temp/unpacked"
	mv "$temp" "$dir"
}

# use_suite SUITE has everything above work with another release of the distribution, from the machine's own mirror.
use_suite() {
	local mirror
	APT_DIR=$MACHINES_APT_DIR APT_SOURCES=()
	update_apt
	# shellcheck disable=SC2016 # these are apt's variables
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
