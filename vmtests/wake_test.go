//go:build vmtest

package vmtests

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// TestWake stops a machine for a while. Its RTC goes on, as that of a host's VM does while the host sleeps.
func TestWake(t *testing.T) {
	t.Parallel()
	eachKernel(t, func(t *testing.T, k kernel) {
		m := boot(t, k.on(t, image{nics: bothNICs(), cmdline: []string{"loglevel=8"}, qemu: []string{"-rtc", "base=utc,clock=host"}, timeout: 6 * time.Minute}))
		comesUp(t, m)
		outcome(t, m, "wake", "ok")
		address(t, m, "eth0", "10.0.2.15/24")
		behind := func() time.Duration { return time.Since(must[time.Time](t, m, "Clock", none{})) }
		right := func() string {
			if b := behind(); b.Abs() > 2*time.Second {
				return fmt.Sprintf("the clock is %v behind", b)
			}
			return ""
		}
		eventually(t, right)
		m.qmp(t, "stop", nil)
		time.Sleep(asleep(k)) // the host sleeps
		m.qmp(t, "cont", nil)
		eventually(t, right)
		r := logged(t, m, "arcinit: ", "clock", "source=rtc0", "by=")
		// Another program sets the clock back: once or twice it is put right.
		must[none](t, m, "SetClock", -time.Hour)
		eventually(t, right)
		if r.Level != 5 {
			t.Errorf("the step has level %d: %s", r.Level, r.Text)
		}
		// Nobody sets a clock back that is ahead.
		must[none](t, m, "SetClock", time.Hour)
		time.Sleep(12 * time.Second) // one look later
		if b := behind(); b > -59*time.Minute {
			t.Errorf("a clock that is ahead was set back: it is %v behind", b)
		}
	})
}

// asleep is how long the machine of TestWake is stopped: two minutes in the full run, on one of the kernels.
func asleep(k kernel) time.Duration {
	if os.Getenv("FULL") != "" && k.name == "stock" {
		return 2 * time.Minute
	}
	return 15 * time.Second
}

// TestClockSources takes another clock than the RTC, or none.
func TestClockSources(t *testing.T) {
	t.Parallel()
	for source, want := range map[string]string{"none": "unavailable", "ptp": "unavailable", "/dev/ptp7": "unavailable", "rtc": "ok", "sundial": "ok"} {
		t.Run(strings.ReplaceAll(source, "/", "_"), func(t *testing.T) {
			m := boot(t, image{cmdline: []string{quiet}, shared: map[string]string{"etc/arcinit.toml": "[clock]\nsource = \"" + source + "\"\n"}})
			comesUp(t, m)
			m.waitReport(t)
			outcome(t, m, "wake", want)
			if source == "sundial" {
				outcome(t, m, "config", "already", "clock.source", "sundial", "auto")
			}
		})
	}
}
