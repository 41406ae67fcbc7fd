#!/usr/bin/env bash
# lines.sh prints the number of lines of Go, without tests, in each folder of cmd, internal and pkg. It fails above the limits.
. "$(dirname "$0")/lib.sh"

limit=12304
# One folder has a limit of its own, for its files without its subfolders.
folder=pkg/arcsetup folder_limit=2700

find cmd internal pkg -name '*.go' ! -name '*_test.go' -exec wc -l {} + | awk -v limit=$limit -v folder=$folder -v folder_limit=$folder_limit '
	$2 == "total" { next }
	{
		path = $2
		sub("/[^/]*$", "", path)
		lines[path] += $1
		top = path
		sub("/.*", "", top)
		tops[top] += $1
		all += $1
	}
	END {
		for (path in lines) printf "%6d  %s\n", lines[path], path | "sort -k2"
		close("sort -k2")
		print ""
		for (top in tops) printf "%6d  %s\n", tops[top], top | "sort -k2"
		close("sort -k2")
		printf "%6d  total, at most %d; %s has %d, at most %d\n", all, limit, folder, lines[folder], folder_limit
		exit all > limit || lines[folder] > folder_limit
	}'
