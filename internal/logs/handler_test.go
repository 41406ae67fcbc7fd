package logs

import (
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode"
)

// last keeps the last line.
type last struct {
	level slog.Level
	line  string
}

func (l *last) Emit(_ time.Time, level slog.Level, line string) { l.level, l.line = level, line }

func TestLines(t *testing.T) {
	sink := &last{}
	log := slog.New(NewHandler("arcinit", slog.LevelInfo, sink))
	untagged := slog.New(NewHandler("", slog.LevelInfo, sink))
	joined := errors.Join(errors.New("x y"), errors.New("z"))
	for _, tt := range []struct {
		log  func()
		want string
	}{
		{func() { log.Info("up") }, "arcinit: up"},
		{func() { untagged.Info("up", "nic", "eth0") }, "up nic=eth0"},
		{func() { log.Info("two\nlines") }, "arcinit: two; lines"},
		{func() { log.Info("up", "pid", 7, "took", 3*time.Millisecond, "ok", true) }, "arcinit: up pid=7 took=3ms ok=true"},
		{func() { log.Info("up", "a", netip.MustParseAddr("192.0.2.1"), "b", []string{"c"}) }, "arcinit: up a=192.0.2.1 b=[c]"},
		{func() { log.Info("up", "end", "code 1", "none", "", "eq", "a=b", "quote", `"`) }, `arcinit: up end="code 1" none="" eq="a=b" quote="\""`},
		{func() { log.Error("lost", "err", joined) }, `arcinit: lost err="x y; z"`},
		{func() { log.With("a", 1).WithGroup("g").Error("lost", "err", joined) }, `arcinit: lost a=1 g.err="x y; z"`},
	} {
		tt.log()
		if sink.line != tt.want {
			t.Errorf("the line is %q, want %q", sink.line, tt.want)
		}
	}
	log.Debug("quiet")
	if strings.Contains(sink.line, "quiet") || sink.level != slog.LevelError {
		t.Errorf("the last line is %q, level %v", sink.line, sink.level)
	}
}

// TestLinesAreHarmlessToTerminals logs what a network could have sent.
func TestLinesAreHarmlessToTerminals(t *testing.T) {
	sink := &last{}
	slog.New(NewHandler("arcinit", slog.LevelInfo, sink)).Info("Host Name: \x1b[2J\rx\x00\x9b", "name", "guest\x07", "err", errors.New("\x1b"))
	if strings.ContainsFunc(sink.line, unicode.IsControl) || !strings.HasPrefix(sink.line, "arcinit: Host Name: ") || !strings.Contains(sink.line, "guest") {
		t.Errorf("the line is %q", sink.line)
	}
}
