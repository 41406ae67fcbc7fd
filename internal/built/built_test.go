package built

import (
	"testing"
	"time"
)

func TestTime(t *testing.T) {
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

func TestVersion(t *testing.T) {
	// Go records no version for a test.
	for set, want := range map[string]string{"": "devel", "1.2.3-4-g0123456789ab-dirty": "1.2.3-4-g0123456789ab-dirty"} {
		version = set
		if got := Version(); got != want {
			t.Errorf("Version with %q set is %q, want %q", set, got, want)
		}
	}
}
