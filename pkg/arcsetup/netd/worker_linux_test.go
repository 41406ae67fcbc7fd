package netd

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"testing"
)

// TestWhileUp sets the link down during an exchange that fails because of that, and
// during an exchange that does not. The next wait must end.
func TestWhileUp(t *testing.T) {
	for _, does := range []error{nil, context.Canceled} {
		w := &worker{d: newDaemon(Config{}, slog.New(slog.DiscardHandler)), wake: make(chan struct{}, 1)}
		err := w.whileUp(t.Context(), func(ctx context.Context) error {
			signal(w.wake) // without a change
			for len(w.wake) > 0 {
				runtime.Gosched()
			}
			w.wasDown.Store(true)
			signal(w.wake)
			<-ctx.Done()
			return does
		})
		if (does == nil) != (err == nil) || err != nil && !errors.Is(err, errLinkDown) {
			t.Errorf("%v became %v", does, err)
		}
		if len(w.wake) != 1 || !w.wasDown.Load() {
			t.Error("the next wait would not end")
		}
	}
}
