package uevent

import (
	"context"
	"testing"
)

func TestWatchEnds(t *testing.T) {
	for _, early := range []bool{true, false} {
		ctx, cancel := context.WithCancel(t.Context())
		scans := 0
		if early {
			cancel()
		}
		err := Watch(ctx, func() { scans++; cancel() }, func(Event) {})
		if err != nil || scans != 1 {
			t.Errorf("context ended before: %v; Watch = %v after %d scans", early, err, scans)
		}
	}
}
