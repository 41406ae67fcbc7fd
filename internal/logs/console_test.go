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

func newConsole(w io.Writer) *Console {
	c := &Console{Loglevel: func() int { return 4 }, Spool: newSpool()}
	c.Start(func(text []byte) { _, _ = w.Write(text) })
	return c
}

func newSpool() Spool { return Spool{After: time.After, Log: slog.New(slog.DiscardHandler)} }

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

// TestConsoleIsNotWaitedFor prints more than there is room for to a console that takes nothing. When it takes output
// again, it gets how many lines were lost, the newest lines, and later ones.
func TestConsoleIsNotWaitedFor(t *testing.T) {
	s := &stuck{taking: make(chan struct{})}
	c := newConsole(s)
	const printed = spoolLimit / 4 // lines of 12 bytes
	for i := range printed {
		c.Put(fmt.Sprintf("line %06d\n", i))
	}
	c.Flush(time.Nanosecond) // does not wait, either
	close(s.taking)
	c.Flush(time.Hour)
	c.Put("later\n")
	c.Flush(time.Hour)
	lines := strings.Split(strings.TrimSpace(s.String()), "\n")
	if lines[0] == "line 000000" {
		lines = lines[1:] // the goroutine may have taken some before the others came
		for !strings.HasPrefix(lines[0], "(") {
			lines = lines[1:]
		}
	}
	var lost int
	if _, err := fmt.Sscanf(lines[0], "(%d lines lost)", &lost); err != nil {
		t.Fatalf("the console says %q about lost lines", lines[0])
	}
	lines = lines[1:]
	if len(lines) < spoolLimit/16 || lines[len(lines)-1] != "later" || lines[len(lines)-2] != fmt.Sprintf("line %06d", printed-1) {
		t.Errorf("the console shows %d lines, from %q to %q", len(lines), lines[0], lines[len(lines)-1])
	}
}
