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
	for _, level := range []slog.Level{slog.LevelDebug, slog.LevelInfo, LevelNotice, slog.LevelWarn} {
		if severity(level) == int(line[1]-'0') {
			return level, line[3:]
		}
	}
	return slog.LevelError, line[3:]
}

// severity is the kernel's number for a level (include/linux/kern_levels.h).
func severity(level slog.Level) int {
	switch {
	case level >= slog.LevelError:
		return 3
	case level >= slog.LevelWarn:
		return 4
	case level >= LevelNotice:
		return 5
	case level >= slog.LevelInfo:
		return 6
	}
	return 7
}
