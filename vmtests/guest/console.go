package guest

import (
	"context"
	"regexp"
	"strings"
	"sync"
)

// console keeps everything that the guest wrote and lets others wait for more. Writing never blocks on a reader.
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

// Close makes the console an io.WriteCloser, as vmtest asks; there is nothing to close.
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
		// Look at ended before the text: what was written before the end must still be found.
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

// firstLine returns the text up to the first line's end.
func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return strings.TrimRight(line, "\r")
}
