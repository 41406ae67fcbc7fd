// Package wallclock follows the machine's own clock, which goes on while the guest is paused, and tells when the wall clock is
// set. It must not know who needs the time.
package wallclock

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/arcinit/arcinit/internal/guarded"
	"github.com/arcinit/arcinit/internal/kernelfile"
	"github.com/arcinit/arcinit/internal/logs"
	"golang.org/x/sys/unix"
)

// Follower steps the wall clock forward when it has fallen behind a Source, as it does while the host sleeps.
type Follower struct {
	Source Source
	Step   time.Duration // how far behind the wall clock may be
	Log    *slog.Logger
	After  func(time.Duration) <-chan time.Time
	Now    func() time.Time // the wall clock (time.Now)
	Set    func(time.Time) error
}

// Run follows the source until ctx ends: now, every ten seconds, and each time that a program sets the wall clock.
func (f *Follower) Run(ctx context.Context) {
	set := make(chan struct{}, 1)
	if watch, err := Watch(ctx, set); err == nil {
		guarded.Go(f.Log, "clock jumps", watch)
	}
	for ctx.Err() == nil {
		if err := f.check(); err != nil {
			f.Log.Debug("cannot follow the machine's clock", "source", f.Source.Name, "err", err)
		}
		select {
		case <-set:
		case <-f.After(10 * time.Second):
		case <-ctx.Done():
		}
	}
}

// check steps the clock if it is behind.
func (f *Follower) check() error {
	right, err := f.Source.Now()
	behind := right.Sub(f.Now().Round(0))
	if err != nil || behind <= f.Step {
		return err
	}
	f.Log.Log(context.Background(), logs.LevelNotice, "stepping the clock forward", "by", behind.Round(time.Millisecond), "source", f.Source.Name)
	return f.Set(right)
}

// Set sets the wall clock.
func Set(t time.Time) error {
	to := unix.NsecToTimespec(t.UnixNano())
	return unix.ClockSettime(unix.CLOCK_REALTIME, &to)
}

// Source is a clock of the machine.
type Source struct {
	Name string
	Now  func() (time.Time, error)
}

// Find returns the clock of this kind: rtc, ptp, the path of a PTP clock's device, or auto for the first of PTP clocks, which are
// exact, and RTCs. /sys and /dev are below the directory root. The error is that there is no such clock.
func Find(root, kind string) (Source, error) {
	ptp, _ := filepath.Glob(filepath.Join(root, "/sys/class/ptp/ptp*/clock_name"))
	for _, file := range ptp {
		// Those of hypervisors, which have the host's time. Another PTP clock is a NIC's, and may have any.
		name, _ := kernelfile.Read(file)
		host := slices.Contains([]string{"KVM virtual PTP", "hyperv", "vmw", "vmclock"}, name) || strings.HasPrefix(name, "Virtio PTP type 0")
		if device := "/dev/" + filepath.Base(filepath.Dir(file)); kind == device || host && (kind == "auto" || kind == "ptp") {
			return Source{device, func() (time.Time, error) { return readPTP(filepath.Join(root, device)) }}, nil
		}
	}
	rtc, _ := filepath.Glob(filepath.Join(root, "/sys/class/rtc/rtc*/since_epoch"))
	if len(rtc) == 0 || kind != "rtc" && kind != "auto" {
		return Source{}, errors.New("this machine has no such clock")
	}
	return Source{filepath.Base(filepath.Dir(rtc[0])), func() (time.Time, error) {
		// Unlike the device, this file can be read while another program has the clock open. An RTC counts seconds, so that its
		// time is between this second and the next.
		text, err := kernelfile.Read(rtc[0])
		seconds, errNumber := strconv.ParseInt(text, 10, 64)
		return time.Unix(seconds, int64(time.Second/2)), errors.Join(err, errNumber)
	}}, nil
}

// readPTP reads a PTP clock, which is a POSIX clock whose number has the device's descriptor in it (FD_TO_CLOCKID in the kernel's
// tools/testing/selftests/ptp/testptp.c).
func readPTP(device string) (time.Time, error) {
	f, err := os.Open(device)
	if err != nil {
		return time.Time{}, err
	}
	defer f.Close() //nolint:errcheck // only read from
	var now unix.Timespec
	err = os.NewSyscallError("clock_gettime", unix.ClockGettime(int32(^int(f.Fd())<<3|3), &now))
	return time.Unix(now.Unix()), err
}

// Watch returns a function that signals set, which has room for one signal, each time the wall clock is set, until ctx ends. The
// kernel reports it on a timer that never expires (timerfd_create(2), TFD_TIMER_CANCEL_ON_SET).
func Watch(ctx context.Context, set chan<- struct{}) (run func(), err error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_REALTIME, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		return nil, err
	}
	const endOfTime = 1 << 33 // in seconds since 1970; it just fits into the kernel's 64 bits of nanoseconds
	never := unix.ItimerSpec{Value: unix.Timespec{Sec: endOfTime}}
	err = unix.TimerfdSettime(fd, unix.TFD_TIMER_ABSTIME|unix.TFD_TIMER_CANCEL_ON_SET, &never, nil)
	// The timer also runs if the clock is set meanwhile.
	if err != nil && !errors.Is(err, unix.ECANCELED) {
		return nil, errors.Join(err, unix.Close(fd))
	}
	timer := os.NewFile(uintptr(fd), "timer")
	return func() {
		defer timer.Close() //nolint:errcheck // only read from
		defer context.AfterFunc(ctx, func() { _ = timer.SetReadDeadline(time.Unix(1, 0)) })()
		for ctx.Err() == nil {
			_, err := timer.Read(make([]byte, 8))
			if !errors.Is(err, unix.ECANCELED) {
				return // ctx has ended
			}
			select {
			case set <- struct{}{}:
			default: // one signal stands for several
			}
		}
	}, nil
}
