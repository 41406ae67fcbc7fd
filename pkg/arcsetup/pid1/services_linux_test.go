package pid1

import (
	"io"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// newServices has services whose children are reaped, with a clock that the test
// moves: each call of After is sent on waits, and over as soon as it is taken.
func newServices(t *testing.T) (s *Services, waits chan time.Duration, uptime *atomic.Int64) {
	t.Helper()
	waits, uptime = make(chan time.Duration), new(atomic.Int64)
	ended := make(chan struct{})
	s = &Services{
		Children: &Children{}, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Uptime:  func() time.Duration { return time.Duration(uptime.Load()) },
		Changed: func() {},
		After: func(d time.Duration) <-chan time.Time {
			over := make(chan time.Time)
			go func() {
				select {
				case waits <- d:
					close(over)
				case <-ended:
				}
			}()
			return over
		},
	}
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGCHLD)
	go func() {
		for {
			select {
			case <-signals:
				s.Children.Reap()
			case <-ended:
				return
			}
		}
	}()
	t.Cleanup(func() { signal.Stop(signals); close(ended) })
	return s, waits, uptime
}

func program(name string, args ...string) Service {
	return Service{Name: name, Command: Command{Path: args[0], Args: args, Dir: "/", Output: os.DevNull}}
}

func TestServiceBacksOff(t *testing.T) {
	s, waits, _ := newServices(t)
	if err := s.Start(program("crasher", "/bin/sh", "-c", "exit 7")); err != nil {
		t.Fatal(err)
	}
	next := func() time.Duration {
		select {
		case d := <-waits:
			return d
		case <-time.After(10 * time.Second):
			t.Fatal("the service is not started again")
			return 0
		}
	}
	ms := time.Millisecond
	want := []time.Duration{100 * ms, 200 * ms, 400 * ms, 800 * ms, 1600 * ms, 3200 * ms, 6400 * ms, 10000 * ms, 10000 * ms}
	var got []time.Duration
	for range want {
		got = append(got, next())
	}
	if !slices.Equal(got, want) {
		t.Errorf("waited %v, want %v", got, want)
	}
	// It was started once before the first wait without one.
	st := s.Status()[0]
	if st.Starts < len(want)+1 || st.LastEnd != "code 7" {
		t.Errorf("status is %+v", st)
	}
}

func TestHealthyServiceStartsOver(t *testing.T) {
	s, waits, uptime := newServices(t)
	s.Uptime = func() time.Duration { return time.Duration(uptime.Add(int64(healthy))) }
	if err := s.Start(program("long", "/bin/sh", "-c", "exit 0")); err != nil {
		t.Fatal(err)
	}
	// It never waits: each end comes after a healthy time.
	for end := time.Now().Add(10 * time.Second); s.Status()[0].Starts < 5; time.Sleep(time.Millisecond) {
		select {
		case d := <-waits:
			t.Fatalf("waited %v after a healthy run", d)
		default:
		}
		if time.Now().After(end) {
			t.Fatal("the service is not started again")
		}
	}
	go func() {
		for range waits { // Stop's grace
		}
	}()
	s.Stop(time.Second)
}

func TestServiceThatDoesNotStart(t *testing.T) {
	s, waits, _ := newServices(t)
	err := s.Start(program("missing", "/nowhere/agent"))
	if err == nil || !strings.Contains(err.Error(), "/nowhere/agent") {
		t.Fatalf("Start = %v", err)
	}
	if d := <-waits; d != minBackoff {
		t.Errorf("tried again after %v, want %v", d, minBackoff)
	}
	if st := s.Status()[0]; st.Starts != 0 || st.PID != 0 || !strings.Contains(st.LastEnd, "no such file") {
		t.Errorf("status is %+v", st)
	}
}

func TestStopIsInReverse(t *testing.T) {
	s, _, _ := newServices(t)
	dir := t.TempDir()
	polite := "trap 'echo $1 >> " + dir + "/log; exit 0' TERM; echo up > " + dir + "/$1; while :; do sleep 0.02; done"
	for _, name := range []string{"first", "second"} {
		if err := s.Start(program(name, "/bin/sh", "-c", polite, "sh", name)); err != nil {
			t.Fatal(err)
		}
		for {
			if _, err := os.Stat(dir + "/" + name); err == nil {
				break
			}
			time.Sleep(time.Millisecond)
		}
	}
	stopped := make(chan struct{})
	go func() { s.Stop(time.Second); close(stopped) }()
	<-stopped
	log, err := os.ReadFile(dir + "/log")
	if err != nil || string(log) != "second\nfirst\n" {
		t.Errorf("ended in the order %q, %v", log, err)
	}
}

func TestStopKillsWhatStays(t *testing.T) {
	s, waits, _ := newServices(t)
	dir := t.TempDir()
	if err := s.Start(program("deaf", "/bin/sh", "-c", "trap '' TERM; echo up > "+dir+"/deaf; while :; do sleep 0.02; done")); err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(dir + "/deaf"); err == nil {
			break
		}
		time.Sleep(time.Millisecond)
	}
	stopped := make(chan struct{})
	go func() { s.Stop(time.Second); close(stopped) }()
	if d := <-waits; d != time.Second { // grace is over
		t.Errorf("waited %v, want the grace", d)
	}
	<-stopped
	if st := s.Status()[0]; st.LastEnd != "signal SIGKILL" {
		t.Errorf("status is %+v", st)
	}
}

func TestOrphansAreReaped(t *testing.T) {
	s, _, _ := newServices(t)
	// A child that nobody asks about, as an orphan is.
	pid, err := syscall.ForkExec("/bin/true", []string{"true"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); syscall.Kill(pid, 0) == nil; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("process %d is still there", pid)
		}
	}
	_ = s
}

func TestActionFor(t *testing.T) {
	for sig, want := range map[syscall.Signal]Action{
		syscall.SIGUSR1: Halt, syscall.SIGUSR2: PowerOff, syscall.SIGTERM: Reboot, syscall.SIGINT: Reboot,
		syscall.SIGPWR: PowerOff, 37: Halt, 38: PowerOff, 39: Reboot, syscall.SIGHUP: 0, syscall.SIGCHLD: 0,
	} {
		if got := ActionFor(sig); got != want {
			t.Errorf("signal %d asks to %v, want %v", sig, got, want)
		}
	}
}

func TestClaimIsForOne(t *testing.T) {
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	// For this process's whole life: it may be the test's second run.
	if _, err := Claim(log); err != nil {
		t.Fatal(err)
	}
	if second, err := Claim(log); err != nil || second {
		t.Errorf("second Claim = %v, %v", second, err)
	}
	for range 5 {
		if pid, err := Owner(); err != nil || pid != os.Getpid() {
			t.Errorf("Owner = %d, %v", pid, err)
		}
	}
}
