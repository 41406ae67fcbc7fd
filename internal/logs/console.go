package logs

import (
	"bytes"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/arcinit/arcinit/internal/guarded"
)

// spoolLimit bounds, in bytes, what waits to be written.
const spoolLimit = 256 << 10

// Spool keeps text for something that may be slow to take the text, or never takes it: a console, or a file on a share.
// A goroutine writes the text, so nobody else waits. When there is no room left, the oldest lines are lost, and counted.
type Spool struct {
	// After is a timer (time.After), Log gets the panics of the goroutine.
	After func(time.Duration) <-chan time.Time
	Log   *slog.Logger

	mu      sync.Mutex
	write   func(text []byte) // nil until Start
	pending []byte
	lost    int           // lines that had no room in pending
	drained chan struct{} // closed when all is written; nil while no goroutine writes
}

// Start begins to write, first the text that was put before.
func (s *Spool) Start(write func(text []byte)) {
	s.mu.Lock()
	s.write = write
	s.mu.Unlock()
	s.Put("")
}

// Put adds a text that ends with a newline. It does not wait.
func (s *Spool) Put(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending = append(s.pending, text...)
	for len(s.pending) > spoolLimit {
		_, s.pending, _ = bytes.Cut(s.pending, []byte("\n"))
		s.lost++
	}
	if s.write != nil && s.drained == nil {
		s.drained = make(chan struct{})
		guarded.RestartOnPanic(s.Log, "log writer", s.After, s.run)
	}
}

// run writes until nothing is left.
func (s *Spool) run() {
	for text := s.next(); len(text) > 0; text = s.next() {
		s.write(text)
	}
}

func (s *Spool) next() (text []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	text, s.pending = s.pending, nil
	if s.lost > 0 {
		text = append(fmt.Appendf(nil, "(%d lines lost)\n", s.lost), text...)
		s.lost = 0
	}
	if len(text) == 0 {
		close(s.drained)
		s.drained = nil
	}
	return text
}

// Flush waits until all text is written, but no longer than limit.
func (s *Spool) Flush(limit time.Duration) {
	s.mu.Lock()
	drained := s.drained
	s.mu.Unlock()
	if drained == nil {
		return
	}
	select {
	case <-drained:
	case <-s.After(limit):
	}
}

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
