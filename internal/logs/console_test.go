package logs

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"
)

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

func newConsole(w io.Writer) *Console {
	return &Console{
		Loglevel: func() int { return 4 }, After: time.After, Log: slog.New(slog.DiscardHandler),
		Open: func() (io.WriteCloser, error) { return nopCloser{w}, nil },
	}
}

func TestConsoleShowsWhatTheKernelDoesNot(t *testing.T) {
	for _, tt := range []struct {
		loglevel int
		level    slog.Level
		want     bool
	}{
		{7, slog.LevelError, false}, // the kernel prints it
		{7, slog.LevelDebug, false},
		{4, slog.LevelInfo, false},
		{4, slog.LevelError, false},
		{4, slog.LevelWarn, true},
		{4, LevelNotice, true},
		{1, slog.LevelError, true},
	} {
		var console bytes.Buffer
		c := newConsole(&console)
		c.Loglevel = func() int { return tt.loglevel }
		slog.New(NewHandler("arcinit", slog.LevelDebug, c)).Log(t.Context(), tt.level, "line")
		c.Flush(time.Hour)
		if got := console.Len() > 0; got != tt.want {
			t.Errorf("loglevel %d, level %v: shown %v, want %v", tt.loglevel, tt.level, got, tt.want)
		}
	}
}

// stuck is a console that takes nothing until it is closed.
type stuck struct {
	taking chan struct{}
	bytes.Buffer
}

func (s *stuck) Write(p []byte) (int, error) {
	<-s.taking
	return s.Buffer.Write(p)
}

// TestConsoleIsNotWaitedFor prints more than the queue holds to a console that takes nothing. When it
// takes output again, it gets the oldest lines, how many were lost, and later lines.
func TestConsoleIsNotWaitedFor(t *testing.T) {
	s := &stuck{taking: make(chan struct{})}
	c := newConsole(s)
	const printed = 2 * maxQueue
	for i := range printed {
		c.Print(fmt.Sprintf("line %d\n", i))
	}
	c.Flush(time.Nanosecond) // does not wait, either
	close(s.taking)
	c.Flush(time.Hour)
	c.Print("later\n")
	c.Flush(time.Hour)
	lines := strings.Split(strings.TrimSpace(s.String()), "\n")
	last := len(lines) - 1
	if lines[0] != "line 0" || lines[last] != "later" {
		t.Errorf("the console shows %d lines, from %q to %q", len(lines), lines[0], lines[last])
	}
	// The goroutine may have taken the first line from the queue before the others came.
	shown := last - 1
	if shown != maxQueue && shown != maxQueue+1 {
		t.Errorf("%d lines are shown, want %d or one more", shown, maxQueue)
	}
	if want := fmt.Sprintf("(%d lines lost", printed-shown); !strings.HasPrefix(lines[last-1], want) {
		t.Errorf("the console says %q, want %s", lines[last-1], want)
	}
}
