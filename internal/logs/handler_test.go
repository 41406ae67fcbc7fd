package logs

import (
	"errors"
	"log/slog"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
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

func TestEscape(t *testing.T) {
	for text, want := range map[string]string{
		"":                            "",
		"a \"b\" \\x1b\t\u00e9\ufffd": "a \"b\" \\x1b\t\u00e9\ufffd",
		"\rarcinit: forged":           `\rarcinit: forged`,
		"\x1b[2K\x00\b\x7f":           `\x1b[2K\x00\b\x7f`,
		"\x9b\u009b\u202e\u2028":      `\x9b\u009b\u202e\u2028`,
	} {
		if got := Escape(text); got != want {
			t.Errorf("Escape(%q) = %q, want %q", text, got, want)
		}
	}
}

// FuzzEscape checks that text stays on its line, and that what is escaped is not escaped again.
func FuzzEscape(f *testing.F) {
	f.Add("\rarcinit: forged \x1b[2K\n\x9b\ufffd")
	f.Fuzz(func(t *testing.T, text string) {
		got := Escape(text)
		if strings.ContainsFunc(got, func(r rune) bool { return r != '\t' && !strconv.IsPrint(r) }) || !utf8.ValidString(got) {
			t.Errorf("Escape(%q) = %q", text, got)
		}
		if again := Escape(got); again != got || len(got) > 6*len(text) {
			t.Errorf("Escape(%q) = %q, and then %q", text, got, again)
		}
	})
}

// TestLinesAreHarmlessToTerminals logs what a network could have sent.
func TestLinesAreHarmlessToTerminals(t *testing.T) {
	sink := &last{}
	slog.New(NewHandler("arcinit", slog.LevelInfo, sink)).Info("Host Name: \x1b[2J\rx\x00\x9b", "name", "guest\x07", "err", errors.New("\x1b"))
	if strings.ContainsFunc(sink.line, unicode.IsControl) || !strings.HasPrefix(sink.line, "arcinit: Host Name: ") || !strings.Contains(sink.line, "guest") {
		t.Errorf("the line is %q", sink.line)
	}
}
