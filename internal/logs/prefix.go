package logs

import (
	"fmt"
	"io"
	"log/slog"
	"time"
)

// Prefixed writes lines to W with the level prefix of sd-daemon(3), `<N>line`.
// A service logs through it to standard error; ParsePrefix reads the prefix.
type Prefixed struct{ W io.Writer }

// Emit implements Sink.
func (p Prefixed) Emit(_ time.Time, level slog.Level, line string) {
	_, _ = fmt.Fprintf(p.W, "<%d>%s\n", severity(level), line)
}

// ParsePrefix splits a line of a service into its level and the text after the
// prefix. A line without a prefix is returned unchanged, with level Info.
func ParsePrefix(line string) (slog.Level, string) {
	if len(line) < 3 || line[0] != '<' || line[1] < '0' || line[1] > '7' || line[2] != '>' {
		return slog.LevelInfo, line
	}
	return levels()[max(0, int(line[1]-'0')-worst)], line[3:]
}

// worst is the kernel's number for LevelError. The kernel has three levels above it.
const worst = 3

// levels are those of the kernel's numbers from worst to 7 (include/linux/kern_levels.h).
func levels() [5]slog.Level {
	return [...]slog.Level{slog.LevelError, slog.LevelWarn, LevelNotice, slog.LevelInfo, slog.LevelDebug}
}

// severity is the kernel's number for a level.
func severity(level slog.Level) int {
	for i, l := range levels() {
		if level >= l {
			return worst + i
		}
	}
	return 7
}
