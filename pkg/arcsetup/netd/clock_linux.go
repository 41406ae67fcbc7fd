package netd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// endOfTime is a time that the kernel's 64 bits of nanoseconds can just hold, in
// seconds since 1970.
const endOfTime = 1 << 33

// watchClock calls set whenever the wall clock has been set, until ctx ends. That
// is how a guest that was paused hears of it: its timers stood still, and then
// somebody gives it the time. The kernel tells through a timer that never
// expires (timerfd_create(2), TFD_TIMER_CANCEL_ON_SET).
func watchClock(ctx context.Context, run func(func()), set func()) error {
	fd, err := unix.TimerfdCreate(unix.CLOCK_REALTIME, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		return fmt.Errorf("watch the clock: %w", err)
	}
	never := unix.ItimerSpec{Value: unix.Timespec{Sec: endOfTime}}
	arm := func() error {
		return unix.TimerfdSettime(fd, unix.TFD_TIMER_ABSTIME|unix.TFD_TIMER_CANCEL_ON_SET, &never, nil)
	}
	// A clock that is set meanwhile does not keep it from being armed.
	if err := arm(); err != nil && !errors.Is(err, unix.ECANCELED) {
		return errors.Join(fmt.Errorf("watch the clock: %w", err), unix.Close(fd))
	}
	timer := os.NewFile(uintptr(fd), "timer")
	run(func() {
		defer timer.Close() //nolint:errcheck // nothing was written to it
		defer context.AfterFunc(ctx, func() { _ = timer.SetReadDeadline(time.Unix(1, 0)) })()
		for ctx.Err() == nil {
			_, err := timer.Read(make([]byte, 8))
			if !errors.Is(err, unix.ECANCELED) {
				return // ctx has ended
			}
			set()
		}
	})
	return nil
}

// age is how long ago that was, by whichever clock says longer: timers and the
// monotonic clock stand still while the guest is paused, and the wall clock may
// be set back.
func age(since, now time.Time) time.Duration {
	return max(now.Sub(since), now.Round(0).Sub(since.Round(0)))
}
