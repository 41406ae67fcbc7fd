package logs

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/arcinit/arcinit/internal/filelock"
	"github.com/arcinit/arcinit/internal/guarded"
)

const (
	// fileLimit is the size at which a log file is put aside.
	fileLimit = 1 << 20
	// pendingLimit bounds, in bytes, the lines that wait to be written.
	pendingLimit = 256 << 10
)

// FileLog appends lines to a file. The file is on a share, where a write waits
// for the host, so a goroutine of its own writes what has gathered. There is one
// older file beside it, path.1: what came before the file was full, or the log
// of the boot before.
type FileLog struct {
	// After is a timer (time.After).
	After func(time.Duration) <-chan time.Time
	// Boot is a directory that is new at each boot. A file in it, of the log
	// file's name, says that the log of the boot before has been put aside, and
	// is locked by who puts a file aside: another process may write to the same.
	Boot string

	mu      sync.Mutex
	path    string
	pending tail
	wake    chan struct{}

	writing sync.Mutex // held while the file is open
}

// Emit implements Sink.
func (l *FileLog) Emit(t time.Time, level slog.Level, line string) {
	text := fmt.Sprintf("%s %-5s %s\n", t.UTC().Format("2006-01-02T15:04:05.000000Z"), level, line)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pending.add(text, pendingLimit)
	if l.wake != nil {
		select {
		case l.wake <- struct{}{}:
		default: // it has been woken already
		}
	}
}

// Start begins to write to path, with the lines that came before. The file that
// is there is put aside by the first process that comes in a boot; where it cannot
// be, lines are added to it.
func (l *FileLog) Start(log *slog.Logger, path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("log file: %w", err)
	}
	err := l.putAside(path, func(lock *os.File) bool {
		st, err := lock.Stat()
		if err != nil || st.Size() > 0 {
			return false
		}
		_, _ = fmt.Fprintln(lock, "the boot before is in", path+".1")
		return true
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	started := l.wake != nil
	l.path = path
	if started {
		return err
	}
	l.wake = make(chan struct{}, 1)
	l.wake <- struct{}{}
	guarded.RestartOnPanic(log, "log file", l.After, func() {
		for range l.wake {
			l.Flush()
		}
	})
	return err
}

// putAside renames the file to path.1 if it is due, which nobody else finds or
// changes meanwhile.
func (l *FileLog) putAside(path string, due func(lock *os.File) bool) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("put the log before aside: %w", err)
		}
	}()
	lock, err := os.OpenFile(filepath.Join(l.Boot, filepath.Base(path)), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer lock.Close() //nolint:errcheck // ends the lock
	if err := filelock.Wait(int(lock.Fd())); err != nil {
		return fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	if !due(lock) {
		return nil
	}
	if err := os.Rename(path, path+".1"); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Flush writes what has gathered and returns when the host has it. A file that
// cannot be written loses the lines; the kernel log has them.
func (l *FileLog) Flush() {
	l.writing.Lock()
	defer l.writing.Unlock()
	l.mu.Lock()
	path, text := l.path, []byte(nil)
	if path != "" {
		text = l.pending.take()
	}
	l.mu.Unlock()
	if len(text) == 0 {
		return
	}
	full := func(*os.File) bool {
		st, err := os.Stat(path)
		return err == nil && st.Size()+int64(len(text)) > fileLimit
	}
	if full(nil) {
		_ = l.putAside(path, full) // else it grows
	}
	// Opened each time: another process may have put the file aside.
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return
	}
	_, _ = f.Write(text)
	_ = f.Close()
}
