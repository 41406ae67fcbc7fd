package netd

import (
	"strconv"
	"testing"
)

func TestSeen(t *testing.T) {
	var s seen
	if got := s.unseen("a", "b", "a"); len(got) != 2 || got[0] != "a" || got[1] != "b" {
		t.Errorf("unseen are %v", got)
	}
	if got := s.unseen("b"); len(got) != 0 {
		t.Errorf("unseen again: %v", got)
	}
	for i := range 2 * maxSeen {
		s.unseen(strconv.Itoa(i))
	}
	if len(s) != maxSeen {
		t.Errorf("remembers %d texts, want %d", len(s), maxSeen)
	}
}
