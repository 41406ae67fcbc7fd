package notify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// host stands for what is at the address.
type host struct {
	mu    sync.Mutex
	away  bool          // every attempt fails
	stuck time.Duration // how long an attempt takes
	tried []time.Time
	heard []string
}

func (h *host) send(_ Address, message []byte, _ time.Duration) error {
	time.Sleep(h.stuck)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tried = append(h.tried, time.Now())
	if h.away {
		return errors.New("nobody there")
	}
	h.heard = append(h.heard, string(message))
	return nil
}

func (h *host) goAway(away bool) {
	h.mu.Lock()
	h.away = away
	h.mu.Unlock()
}

// notifier runs f with a Notifier for h, in time that passes when all wait.
func notifier(t *testing.T, h *host, f func(t *testing.T, n *Notifier, log *bytes.Buffer)) {
	synctest.Test(t, func(t *testing.T) {
		log := new(bytes.Buffer)
		n := New(Address{network: "unix", name: "/h"}, time.After, slog.New(slog.NewTextHandler(log, nil)))
		n.send = h.send
		f(t, n, log)
	})
}

func TestOrder(t *testing.T) {
	h := &host{}
	notifier(t, h, func(t *testing.T, n *Notifier, _ *bytes.Buffer) {
		n.Status("starting")
		synctest.Wait()
		n.Ready()
		n.Status("up")
		synctest.Wait()
		n.Failed(5)
		synctest.Wait()
		n.Stopping("down")
		n.Status("still coming up")
		n.Ready()
		synctest.Wait()
		n.Stopping("down again")
		synctest.Wait()
	})
	// READY=1 may have gone before the status after it was queued.
	want := "STATUS=starting\nREADY=1\nSTATUS=up\nERRNO=5\nSTOPPING=1\nSTATUS=down\nSTOPPING=1\nSTATUS=down again\n"
	if got := strings.Join(h.heard, ""); got != want {
		t.Errorf("heard %q, want %q", h.heard, want)
	}
}

// TestHostListensLater has a host that comes after half a minute: the last of
// each is told then, in order, and the log has a line for each change alone.
func TestHostListensLater(t *testing.T) {
	h := &host{away: true}
	notifier(t, h, func(t *testing.T, n *Notifier, log *bytes.Buffer) {
		start := time.Now()
		n.Status("starting")
		n.Ready()
		for range 1000 {
			n.Status("up")
			time.Sleep(30 * time.Millisecond)
		}
		h.mu.Lock()
		tried := h.tried
		h.mu.Unlock()
		var pauses []time.Duration
		last := start
		for _, at := range tried {
			pauses = append(pauses, at.Sub(last))
			last = at
		}
		ms := time.Millisecond
		if want := []time.Duration{0, 100 * ms, 200 * ms, 400 * ms, 800 * ms, 1600 * ms, 3200 * ms, 5000 * ms}; len(pauses) < 9 || !slices.Equal(pauses[:8], want) {
			t.Errorf("attempts came after %v, want %v", pauses, want)
		}
		h.goAway(false)
		time.Sleep(maxBackoff)
		if err := n.Flush(t.Context()); err != nil {
			t.Error(err)
		}
		if got := strings.Join(h.heard, "|"); got != "READY=1\nSTATUS=up\n" {
			t.Errorf("heard %q", h.heard)
		}
		if strings.Count(log.String(), "nobody there") != 1 || strings.Count(log.String(), "\n") != 2 {
			t.Errorf("log:\n%s", log)
		}
	})
}

// TestNewerWhileSending has a status change while the older one is on its way.
func TestNewerWhileSending(t *testing.T) {
	h := &host{stuck: time.Second}
	notifier(t, h, func(t *testing.T, n *Notifier, _ *bytes.Buffer) {
		n.Status("one")
		synctest.Wait()
		n.Status("two")
		n.Status("three")
		if err := n.Flush(t.Context()); err != nil {
			t.Error(err)
		}
	})
	if got := strings.Join(h.heard, ""); got != "STATUS=one\nSTATUS=three\n" {
		t.Errorf("heard %q", got)
	}
}

func TestFlush(t *testing.T) {
	h := &host{away: true}
	notifier(t, h, func(t *testing.T, n *Notifier, _ *bytes.Buffer) {
		if err := n.Flush(t.Context()); err != nil {
			t.Errorf("nothing to send: %v", err)
		}
		n.Ready()
		time.Sleep(20 * time.Second) // the pauses are at their longest
		n.Stopping("down")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := n.Flush(ctx)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("nobody there: %v", err)
		}
		for _, part := range []string{"unix:/h", "READY=1", "STOPPING=1", "STATUS=down"} {
			if !strings.Contains(fmt.Sprint(err), part) {
				t.Errorf("the error %q does not name %s", err, part)
			}
		}
		time.Sleep(20 * time.Second)
		h.goAway(false)
		before := time.Now()
		if err := n.Flush(t.Context()); err != nil {
			t.Error(err)
		}
		if waited := time.Since(before); waited > 0 {
			t.Errorf("the host was tried only after %v", waited)
		}
	})
	if got := strings.Join(h.heard, "|"); got != "READY=1\nSTOPPING=1\nSTATUS=down\n" {
		t.Errorf("heard %q", got)
	}
}

func TestStatusIsOneLine(t *testing.T) {
	h := &host{}
	notifier(t, h, func(t *testing.T, n *Notifier, _ *bytes.Buffer) {
		n.Status("a\nREADY=1\r\nb\x00c\xff")
		synctest.Wait()
		n.Status(strings.Repeat("x", maxStatus-1) + "ü")
		synctest.Wait()
	})
	want := []string{"STATUS=a READY=1 b c\n", "STATUS=" + strings.Repeat("x", maxStatus-1) + "\n"}
	if !slices.Equal(h.heard, want) {
		t.Errorf("heard %q", h.heard)
	}
}

func TestNoNotifier(t *testing.T) {
	var n *Notifier
	n.Ready()
	if err := n.Flush(t.Context()); err != nil {
		t.Error(err)
	}
}
