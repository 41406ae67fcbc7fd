// Package guarded runs what cannot be allowed to take the process down. PID 1
// must outlive every bug: a panic that leaves any goroutine of PID 1 panics the
// kernel. It must not know what it guards.
package guarded

import (
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"time"
)

// Go runs f on a goroutine of its own. A panic in f is logged with its stack
// and ends that goroutine alone.
func Go(log *slog.Logger, name string, f func()) {
	go func() {
		reserve()
		err := Call(name, func() error { f(); return nil })
		if err != nil {
			log.Error("goroutine ended", "goroutine", name, "err", err)
		}
	}()
}

// What has panicked is run again after minWait, then twice that, and so on to
// maxWait.
const (
	minWait = 100 * time.Millisecond
	maxWait = 10 * time.Second
)

// RestartOnPanic runs f on a goroutine of its own until it returns: after a panic in it,
// which is logged with its stack, it is run again. after is a timer (time.After).
func RestartOnPanic(log *slog.Logger, name string, after func(time.Duration) <-chan time.Time, f func()) {
	go func() {
		reserve()
		for wait := minWait; ; wait = min(2*wait, maxWait) {
			err := Call(name, func() error { f(); return nil })
			if err == nil {
				return
			}
			log.Error("goroutine panicked, is run again", "goroutine", name, "err", err)
			<-after(wait)
		}
	}()
}

// Call runs f and turns a panic in it into an error that carries the stack. The
// name is for the tests that have one thing after another panic.
func Call(name string, f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	Fault(name)
	return f()
}

// reserve makes the stack of a goroutine as large as what runs on it needs, while
// there is nothing on it. A stack begins with 2 KB and is copied, frame by frame,
// each time that it doubles.
//
//go:noinline
func reserve() byte {
	var room [6 << 10]byte
	return room[len(os.Args)]
}
