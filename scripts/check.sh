#!/usr/bin/env bash
# check.sh runs every linter with its default settings, and lists at the end which of them failed.
. "$(dirname "$0")/lib.sh"

# These run at fixed versions and are no dependencies of this module.
golangci_lint=github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
actionlint=github.com/rhysd/actionlint/cmd/actionlint@v1.7.12

need shellcheck shellcheck

failed=()
check() {
	say "$*"
	"$@" || failed+=("$*")
}

formatted() {
	local files
	files=$(gofmt -l .)
	[ -z "$files" ] || {
		echo "not formatted by gofmt: $files"
		return 1
	}
}

check formatted
# The modules in the cache are those that go.sum names. govulncheck asks a database on the Internet, so it runs in the GitHub
# workflow only.
check go mod verify
check go vet ./...
check go vet -tags fault ./cmd/... ./internal/... ./pkg/...
# On other systems the packages build, and fail with a message that they need Linux.
check env GOOS=darwin go vet ./cmd/... ./internal/... ./pkg/...
check env GOARCH=arm64 go vet -tags vmtest,guesttest,soak,full ./...
# Its defaults include go vet for the build tags and all checks that staticcheck alone makes.
check go run "$golangci_lint" run --build-tags vmtest,guesttest,soak,full ./...
# A module of its own, with the VMMs' code in it.
check env -C examples/check go vet ./...
check env -C examples/check go run "$golangci_lint" run
check shellcheck -x --source-path=SCRIPTDIR scripts/*.sh examples/*.sh examples/*/*.sh .ci/run
check go run "$actionlint"

[ ${#failed[@]} = 0 ] || die "$(printf 'failed: %s\n' "${failed[@]}")"
