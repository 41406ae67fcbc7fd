package wallclock

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestFollowerCheck(t *testing.T) {
	now := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	for name, tt := range map[string]struct {
		behind  time.Duration
		err     error
		stepped bool
	}{
		"right": {0, nil, false}, "a little behind": {time.Second, nil, false}, "behind": {1001 * time.Millisecond, nil, true},
		"ahead": {-time.Hour, nil, false}, "no answer": {time.Hour, os.ErrClosed, false},
	} {
		var set time.Time
		f := &Follower{Step: time.Second, Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return now.Add(-tt.behind) },
			Source: Source{"rtc0", func() (time.Time, error) { return now, tt.err }}, Set: func(to time.Time) error { set = to; return nil }}
		if err := f.check(); !errors.Is(err, tt.err) || set.Equal(now) != tt.stepped || set.IsZero() == tt.stepped {
			t.Errorf("%s: set to %v, %v", name, set, err)
		}
	}
}

// TestFind prefers the host's clock to an RTC, and takes no NIC's clock unless it is named.
func TestFind(t *testing.T) {
	root := t.TempDir()
	for path, text := range map[string]string{
		"ptp/ptp0/clock_name": "igb\n", "ptp/ptp1/clock_name": "KVM virtual PTP\n", "ptp/ptp2/clock_name": "Virtio PTP type 1/variant 0\n",
		"rtc/rtc0/since_epoch": "1700000000\n",
	} {
		path = filepath.Join(root, "sys/class", path)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	for kind, want := range map[string]string{"auto": "/dev/ptp1", "ptp": "/dev/ptp1", "rtc": "rtc0", "/dev/ptp0": "/dev/ptp0", "/dev/ptp9": "", "none": ""} {
		if got, err := Find(root, kind); got.Name != want || (err != nil) != (want == "") {
			t.Errorf("%s: %q, %v, want %q", kind, got.Name, err, want)
		}
	}
	rtc, _ := Find(root, "rtc")
	if now, err := rtc.Now(); err != nil || !now.Equal(time.Unix(1700000000, 5e8)) {
		t.Errorf("the RTC shows %v, %v", now, err)
	}
	if _, err := Find(t.TempDir(), "auto"); err == nil {
		t.Errorf("without clocks: %v", err)
	}
}
