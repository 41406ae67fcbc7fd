package netd

import (
	"context"
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// endOfTime is a time in seconds since 1970 that just fits into the kernel's 64 bits of nanoseconds.
const endOfTime = 1 << 33

// watchClock signals set each time the wall clock is set, until ctx ends. That is how
// a guest notices that it was paused, since its timers stood still. The kernel reports
// it on a timer that never expires (timerfd_create(2), TFD_TIMER_CANCEL_ON_SET).
func (d *daemon) watchClock(ctx context.Context, set chan<- struct{}) error {
	fd, err := unix.TimerfdCreate(unix.CLOCK_REALTIME, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		return err
	}
	never := unix.ItimerSpec{Value: unix.Timespec{Sec: endOfTime}}
	err = unix.TimerfdSettime(fd, unix.TFD_TIMER_ABSTIME|unix.TFD_TIMER_CANCEL_ON_SET, &never, nil)
	// The timer also runs if the clock is set meanwhile.
	if err != nil && !errors.Is(err, unix.ECANCELED) {
		return errors.Join(err, unix.Close(fd))
	}
	timer := os.NewFile(uintptr(fd), "timer")
	d.spawn("clock", func() {
		defer timer.Close() //nolint:errcheck // only read from
		defer context.AfterFunc(ctx, func() { _ = timer.SetReadDeadline(time.Unix(1, 0)) })()
		for ctx.Err() == nil {
			_, err := timer.Read(make([]byte, 8))
			if !errors.Is(err, unix.ECANCELED) {
				return // ctx has ended
			}
			signal(set)
		}
	})
	return nil
}

// age returns how long ago since was, by the clock that says longer: the monotonic
// clock stands still while the guest is paused, and the wall clock may be set back.
func age(since, now time.Time) time.Duration {
	return max(now.Sub(since), now.Round(0).Sub(since.Round(0)))
}
