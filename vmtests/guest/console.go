package guest

import (
	"context"
	"regexp"
	"strings"
	"sync"
)

// console keeps the guest's output and lets readers wait for more. A write never blocks on a reader.
type console struct {
	mu   sync.Mutex
	text strings.Builder
	more chan struct{} // closed and replaced at each write
}

func newConsole() *console {
	return &console{more: make(chan struct{})}
}

func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.text.Write(p)
	close(c.more)
	c.more = make(chan struct{})
	return len(p), nil
}

// Close does nothing. vmtest needs an io.WriteCloser.
func (c *console) Close() error { return nil }

// snapshot returns the text so far and a channel that is closed when there is more.
func (c *console) snapshot() (string, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.text.String(), c.more
}

// wait returns the first match of re and its groups, or an error once ended is closed or the context is done.
func (c *console) wait(ctx context.Context, re *regexp.Regexp, ended <-chan struct{}) ([]string, error) {
	for {
		// Check ended before the text, so that output from just before the end is still found.
		over := false
		select {
		case <-ended:
			over = true
		default:
		}
		text, more := c.snapshot()
		if m := re.FindStringSubmatch(text); m != nil {
			return m, nil
		}
		if over {
			return nil, errEnded
		}
		select {
		case <-more:
		case <-ended:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// lastLines returns the last n lines of a text.
func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimRight(strings.ReplaceAll(text, "\r", ""), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// firstLine returns the first line of a text.
func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return strings.TrimRight(line, "\r")
}
