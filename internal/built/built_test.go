package built

import (
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]time.Time{
		"1795465158": time.Date(2026, 11, 23, 20, 19, 18, 0, time.UTC),
		"":           {}, // go build, without the linker's option
		"yesterday":  {},
		"-1":         {},
	} {
		seconds = text
		if got := Time(); !got.Equal(want) {
			t.Errorf("Time of %q = %v, want %v", text, got, want)
		}
	}
}
