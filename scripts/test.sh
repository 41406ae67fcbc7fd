#!/usr/bin/env bash
# test.sh HOST ARCH... runs the tests in parts, and ends with a table of the parts and their minutes.
#
# HOST is this machine's architecture. Its guests run every test on the stock kernel. On Debian, whose kernel source the
# kept figures are from, they run the rows on this project's own kernel too, and bench-check. Guests of another ARCH only
# run the rows on the stock kernel. FULL=1 adds everything else.
#
# Parts run one after the other: a guest's tests fail if something else keeps both processors busy.
. "$(dirname "$0")/lib.sh"

host=$1
shift
archs=("$@")
full=${FULL:-}
# Whether the own kernel of HOST is built and tested.
own=
if [ "$(. /etc/os-release && echo "$ID")" = debian ] && [[ " ${archs[*]} " = *" $host "* ]]; then own=1; fi

# line NAME SECONDS [REMARK] prints a line of the table.
line() { printf '%-22s %4d:%02d  %s\n' "$1" $(($2 / 60)) $(($2 % 60)) "${3:-}"; }

table=() failed=()
print_table() {
	echo
	printf '%-22s %7s\n' part minutes
	printf '%s\n' "${table[@]}"
	line total $SECONDS
}
trap print_table EXIT

# part NAME COMMAND... runs the command as a part. A part that fails does not stop the others.
part() {
	local name=$1 start=$SECONDS remark=
	shift
	say "part: $name"
	"$@" </dev/null || {
		remark=FAILED
		failed+=("$name")
	}
	table+=("$(line "$name" $((SECONDS - start)) "$remark")")
}

# run ARCH TARGET [VARIABLE=...] makes a target for an architecture.
run() { make --no-print-directory "$2" ARCH="$1" "${@:3}"; }

# each TARGET [VARIABLE=...] makes a target for every tested architecture.
each() {
	local arch
	for arch in "${archs[@]}"; do
		run "$arch" "$@" || return
	done
}

# The tests that run on each kernel of KERNELS.
on_kernels='TestRows|TestVMM|TestVirtioConsole|TestJailer|TestOwnKernelMeetsMoby|TestShares|TestZram|TestWake|TestPanicTrace'

if [ -n "$full" ]; then
	part packages each packages
	part kernels each kernel
	part images each images
else
	part packages each packages ENGINES=
	[ -z "$own" ] || part "own kernel" run "$host" kernel
	part images each images
fi
part linters scripts/check.sh
part "unit tests" run "$host" unit
for arch in "${archs[@]}"; do
	if [ -n "$full" ]; then
		part "guests $arch" run "$arch" vmtest KERNELS=stock ENGINES=
		kernels=own tests=$on_kernels
		[ "$arch" != amd64 ] || kernels+=" bookworm trixie-backports" tests+="|TestForeignRoots|TestRootWithoutMountPoints|TestCtrlAltDel|TestDisks"
		part "other kernels $arch" run "$arch" vmtest KERNELS="$kernels" RUN="^($tests)\$"
		engines=TestDocker
		[ "$arch" != "$host" ] || engines+="|TestDockerDisk|TestToday"
		part "engines $arch" run "$arch" vmtest KERNELS="stock own" RUN="^($engines)\$"
	elif [ "$arch" = "$host" ]; then
		part "guests $arch" run "$arch" vmtest ENGINES=
		[ -z "$own" ] || part "own kernel's rows" run "$arch" vmtest KERNELS=own RUN='^(TestRows|TestVMM|TestCtrlAltDel|TestOwnKernelMeetsMoby|TestShares|TestZram|TestWake|TestPanicTrace)$'
	else
		part "rows $arch" run "$arch" vmtest RUN='^TestRows$'
	fi
done
[ -z "$full" ] || [ -z "$own" ] || part faults run "$host" vmtest KERNELS=own ENGINES= RUN='^(TestFaultTable|TestRealFaults)$'
[ "$host" != amd64 ] || [ -z "$own" ] || part bench-check run amd64 bench-check

[ ${#failed[@]} = 0 ] || die "failed: $(printf '%s; ' "${failed[@]}")"
