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
	// What could not be sent is tried again after minBackoff, twice that, and
	// so on to maxBackoff: the host may begin to listen later.
	minBackoff = 100 * time.Millisecond
	maxBackoff = 5 * time.Second
	// attemptTime bounds one attempt, at a host that does not read.
	attemptTime = 2 * time.Second
	// maxStatus keeps a message within the 4096 bytes (PIPE_BUF) that systemd
	// reads of one.
	maxStatus = 1024
)

// Notifier sends to one address, in the order of the calls. What could not be
// sent yet is kept; a newer value takes the place of an unsent older one of the
// same name, so that never more than one of each is. A nil Notifier, of a host
// that did not ask, sends nothing.
type Notifier struct {
	address Address
	log     *slog.Logger
	after   func(time.Duration) <-chan time.Time
	// send makes one attempt to send a message, within a time.
	send func(Address, []byte, time.Duration) error

	queued chan struct{} // has one after something was queued
	hurry  chan struct{} // has one where the next attempt shall come at once

	mu       sync.Mutex
	stopping bool
	unsent   []string      // assignments, in the order of sending
	drained  chan struct{} // not nil where Flush waits; closed when unsent is empty
}

// Start returns a Notifier that sends to address until ctx ends. after is its
// clock (time.After). That the host cannot be reached is logged, once until it
// can be again.
func Start(ctx context.Context, address Address, after func(time.Duration) <-chan time.Time, log *slog.Logger) *Notifier {
	return start(ctx, &Notifier{address: address, log: log, after: after, send: send})
}

func start(ctx context.Context, n *Notifier) *Notifier {
	n.queued, n.hurry = make(chan struct{}, 1), make(chan struct{}, 1)
	guarded.RestartOnPanic(n.log, "notify", n.after, func() { n.run(ctx) })
	return n
}

// Ready tells that the guest is up.
func (n *Notifier) Ready() { n.set("READY", "1") }

// Status tells in one line, for a reader, what the guest is about. What is not
// one line of UTF-8 is made one, of at most 1024 bytes.
func (n *Notifier) Status(text string) { n.set("STATUS", line(text)) }

func line(text string) string {
	text = strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' || r == 0 }), " ")
	return strings.ToValidUTF8(text[:min(len(text), maxStatus)], "")
}

// Failed tells that something went wrong, as an error number of Linux (errno(3)).
func (n *Notifier) Failed(errno int) { n.set("ERRNO", strconv.Itoa(errno)) }

// Stopping tells that the guest begins to shut down, and the status that goes with
// that. It is the last that is told: what comes later comes from a boot that is
// still going on.
func (n *Notifier) Stopping(status string) {
	if n == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.stopping = false // in another shutdown
	n.put("STOPPING", "1")
	n.put("STATUS", line(status))
	n.stopping = true
}

func (n *Notifier) set(name, value string) {
	if n == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.put(name, value)
}

// put queues an assignment; n.mu is held.
func (n *Notifier) put(name, value string) {
	if n.stopping {
		return
	}
	n.unsent = slices.DeleteFunc(n.unsent, func(a string) bool { return strings.HasPrefix(a, name+"=") })
	n.unsent = append(n.unsent, name+"="+value)
	poke(n.queued)
}

// Flush waits until all is sent or ctx ends, and has a host that could not be
// reached tried at once. The error says what was not sent.
func (n *Notifier) Flush(ctx context.Context) error {
	if n == nil {
		return nil
	}
	n.mu.Lock()
	if len(n.unsent) == 0 {
		n.mu.Unlock()
		return nil
	}
	if n.drained == nil {
		n.drained = make(chan struct{})
	}
	drained := n.drained
	n.mu.Unlock()
	poke(n.hurry)
	select {
	case <-drained:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("tell %s %s: %w", n.address, strings.Join(n.waiting(), " "), context.Cause(ctx))
	}
}

// run sends what is queued, all of it as one message, until ctx ends.
func (n *Notifier) run(ctx context.Context) {
	var backoff time.Duration
	for ctx.Err() == nil {
		message := n.waiting()
		if len(message) == 0 {
			select {
			case <-n.queued:
			case <-ctx.Done():
			}
			continue
		}
		err := n.send(n.address, []byte(strings.Join(message, "\n")+"\n"), attemptTime)
		if err == nil {
			if backoff > 0 {
				n.log.Info("the host is told now", "address", n.address.String())
			}
			backoff = 0
			n.sent(message)
			continue
		}
		if backoff == 0 {
			n.log.Warn("the host is not told; trying on", "address", n.address.String(), "err", err)
		}
		backoff = min(max(2*backoff, minBackoff), maxBackoff)
		select {
		case <-n.after(backoff):
		case <-n.hurry:
			backoff = minBackoff
		case <-ctx.Done():
		}
	}
}

func (n *Notifier) waiting() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.unsent)
}

// sent takes out of the queue what has been sent and has not changed since.
func (n *Notifier) sent(message []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.unsent = slices.DeleteFunc(n.unsent, func(a string) bool { return slices.Contains(message, a) })
	if len(n.unsent) == 0 && n.drained != nil {
		close(n.drained)
		n.drained = nil
	}
}

// poke leaves one in c, which has room for one.
func poke(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
