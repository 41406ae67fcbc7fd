#!/usr/bin/env bash
# check.sh runs every linter, each in its default settings, over everything, and says at the end which found something.
. "$(dirname "$0")/lib.sh"

# Run at these versions, and no part of this module's dependencies.
staticcheck=honnef.co/go/tools/cmd/staticcheck@v0.8.2
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
check go vet ./...
check go vet -tags vmtest,guesttest,soak ./...
check go vet -tags fault ./cmd/... ./internal/... ./pkg/...
# Elsewhere than on Linux, the packages build and say that they only work there.
check env GOOS=darwin go vet ./cmd/... ./internal/... ./pkg/...
check env GOARCH=arm64 go vet -tags vmtest,guesttest,soak ./...
check go run "$staticcheck" -tags vmtest,guesttest,soak ./...
check go run "$golangci_lint" run --build-tags vmtest,guesttest,soak ./...
check shellcheck -x --source-path=SCRIPTDIR scripts/*.sh .ci/run
check go run "$actionlint"

[ ${#failed[@]} = 0 ] || die "$(printf 'failed: %s\n' "${failed[@]}")"
