package netd

import (
	"testing"
	"time"
)

func TestTryTime(t *testing.T) {
	var took time.Duration
	for n := 0; took < shortTries; n++ {
		if got := tryTime(n); got != shortTry {
			t.Errorf("try %d takes %v", n, got)
		}
		took += tryTime(n)
	}
	n := int(shortTries / shortTry)
	for _, want := range []time.Duration{4 * time.Second, 8 * time.Second, 16 * time.Second, 32 * time.Second, time.Minute, time.Minute} {
		if got := tryTime(n); got != want {
			t.Errorf("try %d takes %v, want %v", n, got, want)
		}
		n++
	}
	if got := tryTime(1 << 40); got != longTry {
		t.Errorf("after long, a try takes %v", got)
	}
}

func TestRandomly(t *testing.T) {
	const d = 4 * time.Second
	different := map[time.Duration]bool{}
	for range 100 {
		got := randomly(d)
		if got < 3*time.Second || got > 5*time.Second {
			t.Errorf("%v has become %v, want 3 s to 5 s (RFC 2131 section 4.1)", d, got)
		}
		different[got] = true
	}
	if len(different) < 50 {
		t.Errorf("%d different times among 100", len(different))
	}
}

func TestPausesFillTheTry(t *testing.T) {
	var total time.Duration
	pause := firstPause(shortTry)
	for range sends {
		total += pause
		pause *= 2
	}
	if total > shortTry || shortTry-total > time.Millisecond {
		t.Errorf("the pauses last %v, want %v", total, shortTry)
	}
}

func TestAgain(t *testing.T) {
	hour := lease{time: time.Hour, renew: 30 * time.Minute, rebind: 52*time.Minute + 30*time.Second}
	short := lease{time: 20 * time.Second, renew: 10 * time.Second, rebind: 17500 * time.Millisecond}
	second := lease{time: time.Second, renew: 500 * time.Millisecond, rebind: 875 * time.Millisecond}
	for _, test := range []struct {
		lease        lease
		passed, want time.Duration
	}{
		{hour, 30 * time.Minute, 41*time.Minute + 15*time.Second}, // half of what is left until T2
		{hour, 52 * time.Minute, hour.rebind},                     // no later than T2
		{hour, 52*time.Minute + 30*time.Second, 56*time.Minute + 15*time.Second},
		{hour, 59*time.Minute + 50*time.Second, time.Hour}, // no later than the end
		{short, 12 * time.Second, 14750 * time.Millisecond},
		{short, 16 * time.Second, 17500 * time.Millisecond},
		{short, 17500 * time.Millisecond, 19500 * time.Millisecond}, // time for an answer
		{short, 19 * time.Second, 20 * time.Second},
		{second, 500 * time.Millisecond, second.rebind},
		{second, second.rebind, time.Second},
	} {
		if got := test.lease.again(test.passed); got != test.want {
			t.Errorf("lease of %v, after %v: again at %v, want %v", test.lease.time, test.passed, got, test.want)
		}
	}
}
