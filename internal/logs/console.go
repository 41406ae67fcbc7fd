package logs

import (
	"log/slog"
	"time"
)

// Console shows lines of LevelNotice and above that a quiet kernel keeps in its log without printing them.
type Console struct {
	Spool
	// Loglevel returns the kernel's console_loglevel: the kernel prints lines whose severity is a lower number.
	Loglevel func() int
}

// Emit implements Sink.
func (c *Console) Emit(_ time.Time, level slog.Level, line string) {
	if level >= LevelNotice && severity(level) >= c.Loglevel() {
		c.Put(line + "\n")
	}
}
