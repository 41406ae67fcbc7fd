package logs

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/arcinit/arcinit/internal/regular"
)

// fileLimit is the size, in bytes, that a log file does not exceed.
const fileLimit = 1 << 20

// FileLog appends lines to a file on a share. No other process may write to the file.
//
// A second file, path.1, has what was logged before: in the previous boot, or in this boot before the file was full.
type FileLog struct{ Spool }

// Emit implements Sink.
func (l *FileLog) Emit(t time.Time, level slog.Level, line string) {
	l.Put(fmt.Sprintf("%s %-5s %s\n", t.UTC().Format("2006-01-02T15:04:05.000000Z"), level, line))
}

// Open begins to write to path, first the lines that were logged before. It is called once. An error means that the
// previous log could not be kept as path.1, so that lines are appended to it, or that the file cannot be written for
// now. Lines that cannot be written are lost; the kernel log has them.
func (l *FileLog) Open(path string) error {
	err := regular.Append("/", path, nil, 0)
	failed := err != nil
	l.Start(func(text []byte) {
		// The file is not kept open, because the share could not be unmounted then.
		if err := regular.Append("/", path, text, fileLimit); err != nil && !failed {
			failed = true // first, because the warning is a line of the file, too
			l.Log.Warn("cannot write the log file", "err", err)
		}
	})
	return err
}
