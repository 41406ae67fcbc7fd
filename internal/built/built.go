// Package built tells which version of the sources this program was built from, and when these last
// changed. It does not tell the time of the build, so that the same sources always give the same program.
package built

import (
	"runtime/debug"
	"strconv"
	"strings"
	"time"
)

// The linker's option -X sets these (scripts/built.sh): a Unix time in decimal, and the sources' version.
var seconds, version string

// Time returns when the sources last changed. It is zero if the build did not set it.
func Time() time.Time {
	n, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil || n <= 0 {
		return time.Time{}
	}
	return time.Unix(n, 0)
}

// Version returns the sources' version without the tag's v: as the build set it, else as go install or go build recorded it.
func Version() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return strings.TrimPrefix(info.Main.Version, "v")
	}
	return "devel"
}
