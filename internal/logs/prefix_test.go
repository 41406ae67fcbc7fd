package logs

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"
)

func TestPrefixRoundTrip(t *testing.T) {
	for _, level := range []slog.Level{slog.LevelDebug, slog.LevelInfo, LevelNotice, slog.LevelWarn, slog.LevelError} {
		var out bytes.Buffer
		Prefixed{W: &out}.Emit(time.Time{}, level, "a line")
		line, complete := strings.CutSuffix(out.String(), "\n")
		if got, text := ParsePrefix(line); got != level || text != "a line" || !complete {
			t.Errorf("level %v was written as %q and read as %v, %q", level, out.String(), got, text)
		}
	}
}

// FuzzParsePrefix checks that a line loses nothing but one prefix, and that what is read is written the same.
func FuzzParsePrefix(f *testing.F) {
	for _, line := range []string{"<3>x", "<0>x", "<6><3>x", "<4>", "", "<8>x", "<3"} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		level, text := ParsePrefix(line)
		if text != line && (len(line)-len(text) != 3 || !strings.HasSuffix(line, text)) {
			t.Errorf("ParsePrefix(%q) = %v, %q", line, level, text)
		}
		var out bytes.Buffer
		Prefixed{W: &out}.Emit(time.Time{}, level, text)
		if again, same := ParsePrefix(strings.TrimSuffix(out.String(), "\n")); again != level || same != text {
			t.Errorf("ParsePrefix(%q) = %v, %q, which is read as %v, %q", line, level, text, again, same)
		}
	})
}

func TestParsePrefix(t *testing.T) {
	for _, tt := range []struct {
		line  string
		level slog.Level
		text  string
	}{
		{"<3>x", slog.LevelError, "x"},
		{"<0>x", slog.LevelError, "x"}, // the kernel's emergency
		{"<6><3>x", slog.LevelInfo, "<3>x"},
		{"<4>", slog.LevelWarn, ""},
		{"", slog.LevelInfo, ""},
		{"x", slog.LevelInfo, "x"},
		{"<8>x", slog.LevelInfo, "<8>x"},
		{"<13>x", slog.LevelInfo, "<13>x"},
		{"<3 x", slog.LevelInfo, "<3 x"},
		{" <3>x", slog.LevelInfo, " <3>x"},
	} {
		if level, text := ParsePrefix(tt.line); level != tt.level || text != tt.text {
			t.Errorf("ParsePrefix(%q) = %v, %q, want %v, %q", tt.line, level, text, tt.level, tt.text)
		}
	}
}
