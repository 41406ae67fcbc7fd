package guarded

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestCallTurnsPanicIntoError(t *testing.T) {
	err := Call("crasher", func() error { panic("boom") })
	if err == nil || !strings.Contains(err.Error(), "boom") || !strings.Contains(err.Error(), "guarded_test.go") {
		t.Errorf("Call = %v, want the panic's value and stack", err)
	}
	if err := Call("reader", func() error { return io.EOF }); !errors.Is(err, io.EOF) {
		t.Errorf("Call = %v, want what the function returned", err)
	}
}

func TestGoOutlivesPanic(t *testing.T) {
	logged := make(chan string, 1)
	Go(logTo(logged), "crasher", func() { panic("boom") })
	if line := <-logged; !strings.Contains(line, "crasher") || !strings.Contains(line, "boom") {
		t.Errorf("logged %q, want the goroutine's name and the panic", line)
	}
}

func TestRestartOnPanic(t *testing.T) {
	logged := make(chan string, 20)
	var waits []time.Duration
	after := func(d time.Duration) <-chan time.Time {
		waits = append(waits, d)
		over := make(chan time.Time)
		close(over)
		return over
	}
	done := make(chan struct{})
	runs := 0
	RestartOnPanic(logTo(logged), "crasher", after, func() {
		if runs++; runs <= 9 {
			panic("boom")
		}
		close(done)
	})
	<-done
	ms := time.Millisecond
	want := []time.Duration{100 * ms, 200 * ms, 400 * ms, 800 * ms, 1600 * ms, 3200 * ms, 6400 * ms, 10000 * ms, 10000 * ms}
	if !slices.Equal(waits, want) {
		t.Errorf("waited %v, want %v", waits, want)
	}
	if len(logged) != 9 {
		t.Errorf("%d panics are logged, want 9", len(logged))
	}
}

func logTo(lines chan<- string) *slog.Logger {
	return slog.New(slog.NewTextHandler(writerFunc(func(b []byte) { lines <- string(bytes.Clone(b)) }), nil))
}

type writerFunc func([]byte)

func (f writerFunc) Write(b []byte) (int, error) { f(b); return len(b), nil }
