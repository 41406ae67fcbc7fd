package logs

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// all keeps all lines.
type all []string

func (a *all) Emit(_ time.Time, _ slog.Level, line string) { *a = append(*a, line) }

func TestBoundedPassesWhatIsUsual(t *testing.T) {
	sink, now, n := &all{}, time.Now(), 0
	b := &Bounded{Sink: sink}
	say := func(lines int, apart time.Duration) {
		for range lines {
			now = now.Add(apart)
			b.Emit(now, slog.LevelInfo, "agent: "+strings.Repeat("x", 73))
			n++
		}
	}
	say(200, 0)                // as it starts
	say(1000, time.Second/5)   // while it runs
	say(100, time.Millisecond) // something happens
	say(1000, time.Second/5)   // and it goes on
	if len(*sink) != n {
		t.Errorf("%d of %d lines were kept", len(*sink), n)
	}
}

func TestBoundedLeavesRoom(t *testing.T) {
	const ring = 128 << 10
	for _, text := range []string{"x", strings.Repeat("x", 80), strings.Repeat("x", 800)} {
		for _, apart := range []time.Duration{0, 10 * time.Microsecond, 10 * time.Millisecond} {
			sink, now := &all{}, time.Now()
			b := &Bounded{Sink: sink}
			const lines = 100_000
			for i := range lines {
				now = now.Add(apart)
				b.Emit(now, slog.LevelInfo, fmt.Sprintf("agent: %d %s", i, text))
			}
			size := 0
			for _, line := range *sink {
				size += len(line) + 32 // the kernel's own part of a record
			}
			kept := len(*sink)
			if kept == 0 || size > ring/3 {
				t.Errorf("lines of %d bytes each %v: %d lines of %d bytes were kept", len(text), apart, kept, size)
			}
			for i, line := range *sink {
				if !strings.HasPrefix(line, fmt.Sprintf("agent: %d ", i)) {
					t.Fatalf("line %d is %q", i, line)
				}
			}
			b.Emit(now.Add(time.Minute), slog.LevelInfo, "agent: later")
			want := []string{fmt.Sprintf("agent: (%d lines left out)", lines-kept), "agent: later"}
			if got := (*sink)[kept:]; len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
				t.Errorf("lines of %d bytes each %v: then came %q, want %q", len(text), apart, got, want)
			}
		}
	}
}
