// Package guarded starts goroutines that cannot take the process down. PID 1
// must outlive every bug: a panic that leaves any goroutine of PID 1 panics the
// kernel. It must not know what it guards.
package guarded

import (
	"fmt"
	"log/slog"
	"runtime/debug"
)

// Go runs f on a goroutine of its own. A panic in f is logged with its stack
// and ends that goroutine alone.
func Go(log *slog.Logger, name string, f func()) {
	go func() {
		err := Call(func() error { f(); return nil })
		if err != nil {
			log.Error("goroutine ended", "goroutine", name, "err", err)
		}
	}()
}

// Call runs f and turns a panic in it into an error that carries the stack.
func Call(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return f()
}
