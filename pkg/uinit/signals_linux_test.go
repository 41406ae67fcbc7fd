package uinit

import (
	"os"
	"os/signal"
	"syscall"
	"testing"

	"github.com/arcinit/arcinit/internal/process"
)

// TestNoSignalEndsInit sends this process every signal that a program can catch.
func TestNoSignalEndsInit(t *testing.T) {
	s := subscribe()
	defer signal.Reset()
	for n := syscall.Signal(1); n <= 64; n++ {
		if n == syscall.SIGKILL || n == syscall.SIGSTOP {
			continue
		}
		if err := syscall.Kill(os.Getpid(), n); err != nil {
			t.Fatalf("send signal %d: %v", n, err)
		}
		want := chan os.Signal(nil)
		switch {
		case n == syscall.SIGCHLD:
			want = s.child
		case n == repeatSignal:
			want = s.repeat
		case process.ActionFor(n) != 0:
			want = s.shutdown
		}
		if want != nil {
			if got := <-want; got != n {
				t.Errorf("sent signal %d, received %v", n, got)
			}
		}
	}
	if len(s.child)+len(s.repeat)+len(s.shutdown) != 0 {
		t.Error("signals without a meaning are in the channels of others")
	}
}
