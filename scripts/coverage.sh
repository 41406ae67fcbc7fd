#!/usr/bin/env bash
# coverage.sh BUILD runs the unit tests and the guest tests with a uinit that counts which of its statements run, and writes
# docs/coverage.md. It fails if a test fails, or if the tests reach less than 85 % of the statements.
#
# BUILD/cover gets that uinit's images beside everything else of BUILD, and BUILD/cover/counters what ran.
. "$(dirname "$0")/lib.sh"

least=85
cover=$1/cover
counters=$PWD/$cover/counters

rm -rf "$counters"
mkdir -p "$counters"/{unit,guests}
# Hard links: mkuimage and the tests do not follow a symbolic link to a directory.
for name in vmlinuz-stock stock modules tools swapin kernel kernel.config; do
	rm -rf "${cover:?}/$name"
	cp -al "$1/$name" "$cover/$name"
done
packages=$(scripts/linked.sh | paste -sd,)

failed=()
# run NAME COMMAND... runs a command. The counters of tests that fail count, too.
run() {
	say "$1"
	"${@:2}" || failed+=("$1")
}

run "unit tests" go test -count=1 -cover -covermode=atomic -coverpkg="$packages" ./... -args -test.gocoverdir="$counters/unit" \
	> >(sed 's/\tcoverage: .*//')
# guests KERNEL [VARIABLE=...] runs guest tests, but not those that build images of their own or are about the image that COVER=1 replaces.
guests() {
	run "guests on the kernel $1" env ARCINIT_COVER="$counters/guests" ARCINIT_LINKED="$packages" make --no-print-directory vmtest BUILD="$cover" COVER=1 ENGINES= \
		SKIP='^(TestProductionImages|TestSameSourcesSameBytes|TestExample.*)$' KERNELS="$1" "${@:2}"
}
guests stock
guests own RUN='^(TestRows|TestCtrlAltDel|TestOwnKernelMeetsMoby|TestShares|TestZram|TestWake|TestPanicTrace)$'

module=$(go list -m)
profile=$cover/profile
mapfile -t dirs < <(find "$counters" -name 'covmeta.*' -printf '%h\n' | sort -u)
go tool covdata textfmt -i="$(IFS=, && echo "${dirs[*]}")" -o "$profile.all"
# Only test builds have this file.
grep -v '/fault_on.go:' "$profile.all" >"$profile"

# table prints a line for each package: its name, statements, those that did not run, and coverage. The last line is the total.
table() {
	awk -v module="$module/" '
		NR > 1 {
			name = substr($1, length(module) + 1)
			sub("/[^/]*$", "", name)
			all[name] += $2
			if ($3) ran[name] += $2
		}
		END {
			format = "| %s | %d | %d | %.1f %% |\n"
			for (name in all) {
				printf format, name, all[name], all[name] - ran[name], 100 * ran[name] / all[name] | "sort"
				statements += all[name]
				reached += ran[name]
			}
			close("sort")
			printf format, "total", statements, statements - reached, 100 * reached / statements
		}' "$profile"
}

# unreached lists the functions of which no statement ran: a file and a function.
unreached() {
	go tool cover -func="$profile" | awk -v module="$module/" '$NF == "0.0%" {
		sub(":.*", "", $1)
		print substr($1, length(module) + 1), $2
	}'
}

# reasons prints the lines of the table of unreached functions. scripts/coverage.reasons says why no test reaches them.
reasons() {
	unreached | awk '
		NR == FNR { if (/^#/) next; why = $0; sub("^[^ ]+ [^ ]+ +", "", why); reason[$1 " " $2] = why; next }
		{ why = reason[$1 " " $2]; print "| " (why ? why : "not known") " | " $1 " | " $2 " |" }' scripts/coverage.reasons - | sort
}

page() {
	cat <<-END
		# Coverage

		The tests reach **$1 %** of uinit's statements: the unit tests, and the guests on the stock kernel and on this project's own.

		\`\`\`sh
		make coverage
		\`\`\`

		runs these tests, writes this page, and fails below $least %. It takes half an hour.

		What counts is every statement of every package that uinit links from this module, on amd64. The guests run a uinit that
		\`go build -cover\` made. Each of its processes writes its counters to a virtiofs share once a second, when it exits, and before the
		kernel ends the system. So a guest that a test kills loses one second at most. Docker, arm64 and
		guests in which u-root's init starts uinit do not count.

		| package | statements | not reached | coverage |
		|---|---|---|---|
		$(table)

		## Functions that no test reaches

		| reason | file | function |
		|---|---|---|
		$(reasons)
	END
}

total=$(table | awk 'END { print $(NF - 2) }')
page "$total" >docs/coverage.md
awk -v total="$total" -v least=$least 'BEGIN { exit total < least }' || failed+=("the tests reach $total % of the statements, less than $least")
[ ${#failed[@]} = 0 ] || die "$(printf 'failed: %s\n' "${failed[@]}")"
say "the tests reach $total % of uinit's statements: docs/coverage.md"
