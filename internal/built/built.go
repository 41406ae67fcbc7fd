// Package built tells which version of the sources this program was built from, and when these last
// changed. It does not tell the time of the build, so that the same sources always give the same program.
package built

import (
	"runtime/debug"
	"strconv"
	"time"
)

// seconds is a Unix time in decimal. The linker's option -X sets it (scripts/initramfs.sh).
var seconds string

// Time returns when the sources last changed. It is zero if the build did not set it.
func Time() time.Time {
	n, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil || n <= 0 {
		return time.Time{}
	}
	return time.Unix(n, 0)
}

// Version returns the module's version where the program was built as a dependency, else the commit, else the time at which the sources last changed.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value[:min(12, len(s.Value))]
		}
	}
	if t := Time(); !t.IsZero() {
		return "devel-" + t.UTC().Format("20060102150405")
	}
	return "devel"
}
