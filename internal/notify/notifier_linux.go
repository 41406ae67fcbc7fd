package notify

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/arcinit/arcinit/internal/guarded"
)

const (
	// Retries come after minBackoff, doubling up to maxBackoff: the host may begin to listen later.
	minBackoff = 100 * time.Millisecond
	maxBackoff = 5 * time.Second
	// attemptTime bounds one attempt: the host may not read.
	attemptTime = 2 * time.Second
	// maxStatus, in bytes, keeps a message below the 4096 bytes (PIPE_BUF) that systemd reads of one.
	maxStatus = 1024
)

// Notifier sends assignments to one address, in the order of the calls. While the host cannot be reached,
// the newest value of each name waits. A nil Notifier sends nothing.
type Notifier struct {
	address Address
	log     *slog.Logger
	after   func(time.Duration) <-chan time.Time
	// send makes one attempt to send a message, within a time.
	send  func(Address, []byte, time.Duration) error
	hurry chan struct{} // has one in it to end the wait for a retry

	mu       sync.Mutex
	stopping bool
	unsent   []string      // assignments, in the order of sending
	drained  chan struct{} // closed when unsent is empty again; nil while nothing is sent
}

// New returns a Notifier that sends to address. after is a timer (time.After). The first failed attempt is logged, and so is the next success.
func New(address Address, after func(time.Duration) <-chan time.Time, log *slog.Logger) *Notifier {
	return &Notifier{address: address, log: log, after: after, send: send, hurry: make(chan struct{}, 1)}
}

// Ready says that the guest is up.
func (n *Notifier) Ready() { n.put(false, "READY=1") }

// Status describes the guest's state to a person, in one line of UTF-8 of at most 1024 bytes. Other text is made to fit.
func (n *Notifier) Status(text string) { n.put(false, status(text)) }

// Failed says that something went wrong, as an error number of Linux (errno(3)).
func (n *Notifier) Failed(errno int) { n.put(false, "ERRNO="+strconv.Itoa(errno)) }

// Stopping says that the guest shuts down, and sets the status. After it, other calls are ignored, because they come from a boot that has not ended.
func (n *Notifier) Stopping(text string) { n.put(true, "STOPPING=1", status(text)) }

func status(text string) string {
	text = strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' || r == 0 }), " ")
	return "STATUS=" + strings.ToValidUTF8(text[:min(len(text), maxStatus)], "")
}

// put queues assignments in place of unsent ones of the same name.
func (n *Notifier) put(stopping bool, assignments ...string) {
	if n == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.stopping && !stopping {
		return
	}
	n.stopping = stopping
	for _, a := range assignments {
		name, _, _ := strings.Cut(a, "=")
		n.unsent = slices.DeleteFunc(n.unsent, func(old string) bool { return strings.HasPrefix(old, name+"=") })
		n.unsent = append(n.unsent, a)
	}
	if n.drained == nil {
		n.drained = make(chan struct{})
		guarded.RestartOnPanic(n.log, "notify", n.after, n.run)
	}
}

// Flush retries at once and waits until everything is sent. If ctx ends first, the error names what was not sent.
func (n *Notifier) Flush(ctx context.Context) error {
	if n == nil {
		return nil
	}
	n.mu.Lock()
	drained := n.drained
	n.mu.Unlock()
	if drained == nil {
		return nil
	}
	select {
	case n.hurry <- struct{}{}:
	default: // another Flush asks already
	}
	select {
	case <-drained:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("send %s to %s: %w", strings.Join(n.waiting(), " "), n.address, context.Cause(ctx))
	}
}

// run sends all that is queued as one message, again and again, until everything is sent.
func (n *Notifier) run() {
	var backoff time.Duration
	for {
		message := n.waiting()
		err := n.send(n.address, []byte(strings.Join(message, "\n")+"\n"), attemptTime)
		if err == nil {
			if backoff > 0 {
				n.log.Info("host notifications are working again", "address", n.address.String())
			}
			if n.sent(message) {
				return
			}
			backoff = 0
			continue
		}
		if backoff == 0 {
			n.log.Warn("cannot notify the host; will retry", "address", n.address.String(), "err", err)
		}
		backoff = min(max(2*backoff, minBackoff), maxBackoff)
		select {
		case <-n.after(backoff):
		case <-n.hurry:
			backoff = minBackoff
		}
	}
}

func (n *Notifier) waiting() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.unsent)
}

// sent removes what was sent from the queue, but for names that have a new value. It reports whether the queue is empty.
func (n *Notifier) sent(message []string) (all bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.unsent = slices.DeleteFunc(n.unsent, func(a string) bool { return slices.Contains(message, a) })
	if all = len(n.unsent) == 0; all {
		close(n.drained)
		n.drained = nil
	}
	return all
}
