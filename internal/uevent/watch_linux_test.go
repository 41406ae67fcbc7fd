package uevent

import (
	"context"
	"testing"
	"time"
)

func TestWatchEnds(t *testing.T) {
	for _, early := range []bool{true, false} {
		ctx, cancel := context.WithCancel(t.Context())
		if early {
			cancel()
		}
		scans, ended := 0, make(chan error, 1)
		go func() { ended <- Watch(ctx, func() { scans++; cancel() }, func(Event) {}) }()
		select {
		case err := <-ended:
			if err != nil || scans != 1 {
				t.Errorf("context ended before: %v; Watch = %v after %d scans", early, err, scans)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("context ended before: %v; Watch has not ended", early)
		}
	}
}
