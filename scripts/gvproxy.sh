#!/usr/bin/env bash
# gvproxy.sh OUT builds gvproxy, the network of Podman's and Lima's guests on macOS, for this machine. It is not a module that go.mod
# names, because only one test starts the program. The cache keeps each version.
. "$(dirname "$0")/lib.sh"

# docs/dhcp.md names the version.
version=v0.8.9

need_go
kept=$CACHE/gvproxy/$version-$(host_arch)
if [ ! -e "$kept" ]; then
	mkdir -p "$CACHE/gvproxy"
	temp=$(mktemp -d "$CACHE/gvproxy/make.XXXXXX")
	trap 'rm -rf "$temp"' EXIT
	part "build gvproxy $version" env GOBIN="$temp" CGO_ENABLED=0 GOFLAGS=-buildvcs=false \
		go install "github.com/containers/gvisor-tap-vsock/cmd/gvproxy@$version"
	mv "$temp/gvproxy" "$kept"
fi
mkdir -p "$(dirname "$1")"
cp "$kept" "$1.tmp"
mv "$1.tmp" "$1"
