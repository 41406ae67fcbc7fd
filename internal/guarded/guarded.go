// Package guarded starts goroutines that may panic. A panic that leaves any goroutine of PID 1 panics the
// kernel, so no other package starts one itself. The package must not know what it runs.
package guarded

import (
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"time"
)

// RestartOnPanic restarts after minDelay, then twice that, up to maxDelay.
const (
	minDelay = 100 * time.Millisecond
	maxDelay = 10 * time.Second
)

// Go runs f on a new goroutine. A panic in f ends only that goroutine, and is logged with its stack.
func Go(log *slog.Logger, name string, f func()) {
	go func() {
		growStack()
		if err := Call(name, func() error { f(); return nil }); err != nil {
			log.Error("goroutine panicked", "goroutine", name, "err", err)
		}
	}()
}

// RestartOnPanic runs f on a new goroutine. After a panic, which is logged with its stack, it runs f again. after is a timer (time.After).
func RestartOnPanic(log *slog.Logger, name string, after func(time.Duration) <-chan time.Time, f func()) {
	go func() {
		growStack()
		for delay := minDelay; ; delay = min(2*delay, maxDelay) {
			err := Call(name, func() error { f(); return nil })
			if err == nil {
				return
			}
			log.Error("goroutine panicked; restarting it", "goroutine", name, "err", err)
			<-after(delay)
		}
	}()
}

// Call runs f and turns a panic into an error that has the stack. Tests give f a fault by its name (Fault).
func Call(name string, f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	if err := Fault(name); err != nil {
		return err
	}
	return f()
}

// growStack grows the goroutine's stack while it is empty. Otherwise the stack starts with 2 KB and is copied, frame by frame, each time it doubles.
//
//go:noinline
func growStack() byte {
	var room [6 << 10]byte
	return room[len(os.Args)]
}
