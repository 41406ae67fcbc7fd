package netd

import (
	"strconv"
	"testing"
)

func TestSeen(t *testing.T) {
	var s seen
	for i, want := range []bool{true, true, false, false} {
		if text := []string{"a", "b", "a", "b"}[i]; s.isNew(text) != want {
			t.Errorf("text %d, %q, is new: %t, want %t", i, text, !want, want)
		}
	}
	for i := range 2 * maxSeen {
		s.isNew(strconv.Itoa(i))
	}
	if len(s) != maxSeen {
		t.Errorf("remembers %d texts, want %d", len(s), maxSeen)
	}
}
