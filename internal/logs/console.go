package logs

import (
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/arcinit/arcinit/internal/guarded"
)

// maxQueue bounds the lines that wait for a console that does not drain.
const maxQueue = 256

// Console shows lines of LevelNotice and above that a quiet kernel keeps in its log without printing
// them. A console may stop taking output, on XOFF or when its VMM stops reading, so a goroutine writes
// the lines from a bounded queue. Lines that find the queue full are lost, and counted.
type Console struct {
	// Loglevel returns the kernel's console_loglevel: the kernel prints lines whose severity is a
	// lower number.
	Loglevel func() int
	// Open opens /dev/console for one text.
	Open func() (io.WriteCloser, error)
	// After is a timer (time.After), Log gets the panics of the goroutine.
	After func(time.Duration) <-chan time.Time
	Log   *slog.Logger

	mu      sync.Mutex
	queue   []string
	lost    int
	drained chan struct{} // closed when the queue is written; nil while no goroutine writes
}

// Emit implements Sink.
func (c *Console) Emit(_ time.Time, level slog.Level, line string) {
	if level >= LevelNotice && severity(level) >= c.Loglevel() {
		c.Print(line + "\n")
	}
}

// Print queues a text for the console. It does not wait.
func (c *Console) Print(text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.queue) == maxQueue {
		c.lost++
		return
	}
	c.queue = append(c.queue, text)
	if c.drained == nil {
		c.drained = make(chan struct{})
		guarded.RestartOnPanic(c.Log, "console writer", c.After, c.write)
	}
}

// write writes the queue until it is empty.
func (c *Console) write() {
	for text := c.next(); text != ""; text = c.next() {
		if console, err := c.Open(); err == nil {
			_, _ = io.WriteString(console, text)
			_ = console.Close()
		}
	}
}

// next takes a text from the queue. It returns nothing when all is written.
func (c *Console) next() (text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case len(c.queue) > 0:
		text, c.queue = c.queue[0], c.queue[1:]
	case c.lost > 0:
		text, c.lost = fmt.Sprintf("(%d lines lost: the console did not take them)\n", c.lost), 0
	default:
		close(c.drained)
		c.drained = nil
	}
	return text
}

// Flush waits until the console has taken all that was queued, but not beyond limit.
func (c *Console) Flush(limit time.Duration) {
	c.mu.Lock()
	drained := c.drained
	c.mu.Unlock()
	if drained == nil {
		return
	}
	select {
	case <-drained:
	case <-c.After(limit):
	}
}
