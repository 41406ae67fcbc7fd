package logs

import (
	"bytes"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/arcinit/arcinit/internal/guarded"
	"github.com/arcinit/arcinit/internal/regular"
)

const (
	// fileLimit is the size, in bytes, that a log file does not exceed.
	fileLimit = 1 << 20
	// pendingLimit bounds, in bytes, the lines that wait to be written.
	pendingLimit = 256 << 10
)

// FileLog appends lines to a file on a share. Writing waits for the host, so a
// goroutine of its own does that. No other process may write to the file.
//
// A second file, path.1, has what was logged before: in the previous boot, or
// in this boot before the file was full.
type FileLog struct {
	// After is a timer (time.After).
	After func(time.Duration) <-chan time.Time

	mu      sync.Mutex
	path    string        // empty until Start
	pending []byte        // the newest lines, at most pendingLimit bytes
	lost    int           // older lines that had no room in pending
	wake    chan struct{} // has one in it when lines are pending

	writing sync.Mutex // held while the file is written
	failed  bool       // a warning about the file was logged
	log     *slog.Logger
}

// Emit implements Sink.
func (l *FileLog) Emit(t time.Time, level slog.Level, line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pending = fmt.Appendf(l.pending, "%s %-5s %s\n", t.UTC().Format("2006-01-02T15:04:05.000000Z"), level, line)
	for len(l.pending) > pendingLimit {
		_, l.pending, _ = bytes.Cut(l.pending, []byte("\n"))
		l.lost++
	}
	select {
	case l.wake <- struct{}{}:
	default: // not started, or woken already
	}
}

// Start begins to write to path, first the lines that were logged before. It is
// called once. An error means that the previous log could not be kept as path.1,
// so that lines are appended to it, or that the file cannot be written for now.
func (l *FileLog) Start(log *slog.Logger, path string) error {
	err := regular.Append("/", path, nil, 0)
	wake := make(chan struct{}, 1)
	l.mu.Lock()
	l.path, l.wake, l.log, l.failed = path, wake, log, err != nil
	l.mu.Unlock()
	guarded.RestartOnPanic(log, "log file", l.After, func() {
		for {
			l.Flush()
			<-wake
		}
	})
	return err
}

// Flush writes the pending lines and returns when the host has them. Lines that
// cannot be written are lost; the kernel log has them.
func (l *FileLog) Flush() {
	l.writing.Lock()
	defer l.writing.Unlock()
	l.mu.Lock()
	path, text, lost := l.path, l.pending, l.lost
	if path != "" {
		l.pending, l.lost = nil, 0
	}
	l.mu.Unlock()
	if path == "" || len(text) == 0 {
		return
	}
	if lost > 0 {
		text = append(fmt.Appendf(nil, "(%d lines lost)\n", lost), text...)
	}
	// The file is not kept open, because the share could not be unmounted then.
	if err := regular.Append("/", path, text, fileLimit); err != nil && !l.failed {
		l.failed = true // first, because the warning is a line of the file, too
		l.log.Warn("cannot write the log file", "err", err)
	}
}
