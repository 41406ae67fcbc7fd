package guarded

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
)

func TestCallTurnsPanicIntoError(t *testing.T) {
	err := Call(func() error { panic("boom") })
	if err == nil || !strings.Contains(err.Error(), "boom") || !strings.Contains(err.Error(), "guarded_test.go") {
		t.Errorf("Call = %v, want the panic's value and stack", err)
	}
	if err := Call(func() error { return io.EOF }); !errors.Is(err, io.EOF) {
		t.Errorf("Call = %v, want what the function returned", err)
	}
}

func TestGoOutlivesPanic(t *testing.T) {
	logged := make(chan string, 1)
	log := slog.New(slog.NewTextHandler(writerFunc(func(b []byte) { logged <- string(bytes.Clone(b)) }), nil))
	Go(log, "crasher", func() { panic("boom") })
	if line := <-logged; !strings.Contains(line, "crasher") || !strings.Contains(line, "boom") {
		t.Errorf("logged %q, want the goroutine's name and the panic", line)
	}
}

type writerFunc func([]byte)

func (f writerFunc) Write(b []byte) (int, error) { f(b); return len(b), nil }
