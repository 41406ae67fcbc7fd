// Package built tells when the sources that this program is built from were
// last changed. The linker puts that in (scripts/initramfs.sh), and not the time
// of the build itself: the same sources make the same program.
package built

import (
	"strconv"
	"time"
)

// seconds is since 1970, in decimal: the linker's option -X sets strings alone.
var seconds string

// Time is that time, zero if the build did not say it.
func Time() time.Time { return parse(seconds) }

func parse(seconds string) time.Time {
	n, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil || n <= 0 {
		return time.Time{}
	}
	return time.Unix(n, 0)
}
