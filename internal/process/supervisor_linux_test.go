//go:build !guesttest

// The guest of these tests has no shell.

package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/arcinit/arcinit/internal/logs"
	"golang.org/x/sys/unix"
)

// newServices has services whose children are reaped, with a clock that the test
// moves: each call of After is sent on waits, and over as soon as it is taken.
func newServices(t *testing.T) (s *Supervisor, waits chan time.Duration, uptime *atomic.Int64) {
	t.Helper()
	waits, uptime = make(chan time.Duration), new(atomic.Int64)
	ended := make(chan struct{})
	s = &Supervisor{
		Reaper: NewReaper(slog.New(slog.DiscardHandler), time.After), Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
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
				s.Reaper.Reap()
			case <-ended:
				return
			}
		}
	}()
	t.Cleanup(func() { signal.Stop(signals); close(ended) })
	return s, waits, uptime
}

func program(name string, args ...string) Service {
	return Service{Name: name, Command: Command{Path: args[0], Args: args, Dir: "/"}, Restart: Always, Grace: time.Hour}
}

// until waits for a condition. The time limit of go test ends it if that never
// holds.
func until(condition func() bool) {
	for !condition() {
		time.Sleep(time.Millisecond)
	}
}

func TestServiceBacksOff(t *testing.T) {
	s, waits, _ := newServices(t)
	if _, err := s.Start(program("crasher", "/bin/sh", "-c", "exit 7")); err != nil {
		t.Fatal(err)
	}
	ms := time.Millisecond
	want := []time.Duration{100 * ms, 200 * ms, 400 * ms, 800 * ms, 1600 * ms, 3200 * ms, 6400 * ms, 10000 * ms, 10000 * ms}
	var got []time.Duration
	for range want {
		got = append(got, <-waits)
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
	if _, err := s.Start(program("long", "/bin/sh", "-c", "exit 0")); err != nil {
		t.Fatal(err)
	}
	// It never waits: each end comes after a healthy time.
	until(func() bool {
		select {
		case d := <-waits:
			t.Fatalf("waited %v after a healthy run", d)
		default:
		}
		return s.Status()[0].Starts >= 5
	})
	go func() {
		for range waits { // Stop's grace
		}
	}()
	s.Stop(t.Context())
}

func TestServiceThatDoesNotStart(t *testing.T) {
	s, waits, _ := newServices(t)
	_, err := s.Start(program("missing", "/nowhere/agent"))
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

func TestServiceThatIsNoProgram(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mkfifo(dir+"/pipe", 0o755); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, dir + "/pipe", "/dev/null"} {
		s, _, _ := newServices(t)
		if _, err := s.Start(program("none", path)); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("Start %s = %v", path, err)
		}
	}
}

// untilUp waits for a program of a test to make a file.
func untilUp(path string) {
	until(func() bool {
		_, err := os.Stat(path)
		return err == nil
	})
}

// TestStopOrder has a service that ends before the one that it is after, beside a third, and one that is last.
func TestStopOrder(t *testing.T) {
	s, _, _ := newServices(t)
	dir := t.TempDir()
	polite := "trap 'echo $1 >> " + dir + "/log; exit 0' TERM; echo up > " + dir + "/$1; while :; do sleep 0.02; done"
	for _, service := range []Service{{Name: "last", Last: true}, {Name: "first"}, {Name: "second", After: []string{"first"}}} {
		service.Command = program("", "/bin/sh", "-c", polite, "sh", service.Name).Command
		service.Restart, service.Grace = Always, time.Hour
		if _, err := s.Start(service); err != nil {
			t.Fatal(err)
		}
		untilUp(dir + "/" + service.Name)
	}
	s.Stop(t.Context())
	log, err := os.ReadFile(dir + "/log")
	if err != nil || string(log) != "second\nfirst\nlast\n" {
		t.Errorf("ended in the order %q, %v: %+v", log, err, s.Status())
	}
	if _, err := s.Start(program("late", "/bin/true")); !errors.Is(err, errStopped) {
		t.Errorf("a service started after that: %v", err)
	}
}

// TestStopSideBySide has a service that does not hear beside one that takes its time to end.
func TestStopSideBySide(t *testing.T) {
	s, _, _ := newServices(t)
	dir := t.TempDir()
	for name, onTerm := range map[string]string{"deaf": "", "slow": "until [ -e " + dir + "/go ]; do sleep 0.02; done; echo said > " + dir + "/said; exit 0"} {
		v := program(name, "/bin/sh", "-c", "trap '"+onTerm+"' TERM; echo up > "+dir+"/"+name+"; while :; do sleep 0.02; done")
		if name == "deaf" {
			v.Grace = 50 * time.Millisecond
		}
		if _, err := s.Start(v); err != nil {
			t.Fatal(err)
		}
		untilUp(dir + "/" + name)
	}
	stopped := make(chan struct{})
	go func() { s.Stop(t.Context()); close(stopped) }()
	ends := func(name string) string {
		for _, st := range s.Status() {
			if st.Name == name {
				return st.LastEnd
			}
		}
		return ""
	}
	until(func() bool { return ends("deaf") != "" })
	if got := ends("slow"); got != "" {
		t.Errorf("the slow service ended with the deaf one, by %s", got)
	}
	if err := os.WriteFile(dir+"/go", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	<-stopped
	if _, err := os.Stat(dir + "/said"); err != nil || ends("slow") != "code 0" || ends("deaf") != "signal SIGKILL" {
		t.Errorf("slow ended with %s, deaf with %s; %v", ends("slow"), ends("deaf"), err)
	}
}

// TestStopEndsTheSession has a shell in front of a program, which ends in peace although the shell ends first.
func TestStopEndsTheSession(t *testing.T) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	for _, crash := range []bool{false, true} {
		t.Run(fmt.Sprintf("crash %v", crash), func(t *testing.T) { testEndOfSession(t, crash) })
	}
}

func testEndOfSession(t *testing.T, crash bool) {
	s, _, _ := newServices(t)
	dir := t.TempDir()
	behind := "trap 'echo ended > " + dir + "/ended; exit 0' TERM; echo up > " + dir + "/up; while :; do sleep 0.02; done"
	v := program("wrapped", "/bin/sh", "-c", "(exec /bin/sh -c \"$1\") & wait", "sh", behind)
	v.Restart, v.KillSession = Never, crash
	if _, err := s.Start(v); err != nil {
		t.Fatal(err)
	}
	untilUp(dir + "/up")
	if pid := s.Status()[0].PID; crash {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		untilUp(dir + "/ended")
	}
	s.Stop(t.Context())
	if _, err := os.Stat(dir + "/ended"); err != nil {
		t.Errorf("the program behind the shell was not asked to end: %v", err)
	}
}

func TestStopKillsWhatStays(t *testing.T) {
	s, waits, uptime := newServices(t)
	s.Uptime = func() time.Duration { return time.Duration(uptime.Add(int64(5 * time.Second))) }
	log := &lines{levels: true}
	s.Log = slog.New(logs.NewHandler("test", slog.LevelDebug, log))
	dir := t.TempDir()
	if _, err := s.Start(program("deaf", "/bin/sh", "-c", "trap '' TERM; echo up > "+dir+"/deaf; while :; do sleep 0.02; done")); err != nil {
		t.Fatal(err)
	}
	untilUp(dir + "/deaf")
	who := fmt.Sprintf("service=deaf pid=%d", s.Status()[0].PID)
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan struct{})
	go func() { s.Stop(ctx); close(stopped) }()
	for range 3 { // by the third, it has logged its progress twice
		if d := <-waits; d != progress {
			t.Errorf("waited %v, want %v", d, progress)
		}
	}
	cancel()
	<-stopped
	if st := s.Status()[0]; st.LastEnd != "signal SIGKILL" {
		t.Errorf("status is %+v", st)
	}
	var logged []string
	for line := range strings.Lines(log.String()) {
		if level, rest, _ := strings.Cut(line, " "); strings.Contains(rest, who) && level != "INFO" {
			logged = append(logged, level)
		}
	}
	notice := logs.LevelNotice.String()
	if len(logged) < 3 || !slices.Equal(slices.Compact(logged), []string{notice, "WARN"}) {
		t.Errorf("%s is logged with levels %v, want at least two of %s and a WARN, in\n%s", who, logged, notice, log)
	}
}

func TestRestartPolicy(t *testing.T) {
	for _, tt := range []struct {
		restart Restart
		exit    string
		starts  int // 2 stands for again and again
	}{
		{Always, "0", 2}, {OnFailure, "0", 1}, {OnFailure, "3", 2}, {Never, "0", 1}, {Never, "3", 1},
	} {
		t.Run(string(tt.restart)+tt.exit, func(t *testing.T) {
			s, _, _ := newServices(t)
			p := program("p", "/bin/sh", "-c", "exit "+tt.exit)
			p.Restart = tt.restart
			if _, err := s.Start(p); err != nil {
				t.Fatal(err)
			}
			if tt.starts == 1 {
				<-s.all[0].ended
			}
			until(func() bool { return s.Status()[0].Starts >= tt.starts })
			if st := s.Status()[0]; tt.starts == 1 && (st.Starts != 1 || st.Ends != 1 || st.LastEnd != "code "+tt.exit) {
				t.Errorf("status is %+v", st)
			}
		})
	}
}

func TestServiceIsStartedOnce(t *testing.T) {
	s, _, _ := newServices(t)
	for i, want := range []bool{true, false} {
		if started, err := s.Start(program("one", "/bin/sleep", "60")); err != nil || started != want {
			t.Errorf("call %d: started %v, %v", i, started, err)
		}
	}
	s.Stop(t.Context())
}

// lines is a log that a test reads.
type lines struct {
	levels bool // begin lines with their level

	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Emit(_ time.Time, level slog.Level, line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.levels {
		line = level.String() + " " + line
	}
	l.text.WriteString(line + "\n")
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func TestOutput(t *testing.T) {
	s, waits, _ := newServices(t)
	log := &lines{}
	long := strings.Repeat("x", maxOutput+10)
	p := program("talker", "/bin/sh", "-c", "cat; echo out; echo err >&2; echo; echo "+long+"; printf unfinished")
	p.Sinks = []logs.Sink{log}
	if _, err := s.Start(p); err != nil {
		t.Fatal(err)
	}
	<-waits // it has run twice
	want := "talker: out\ntalker: err\ntalker: " + long[:maxOutput] + "\ntalker: xxxxxxxxxx\ntalker: unfinished\n"
	until(func() bool { return len(log.String()) >= 2*len(want) })
	if !strings.HasPrefix(log.String(), want+want) {
		t.Errorf("the log is\n%s\nwant, twice,\n%s", log, want)
	}
}

// TestOutputLevels has a service choose the level of its lines. It cannot leave out its name, hide it on a
// terminal or begin a line without it.
func TestOutputLevels(t *testing.T) {
	s, _, _ := newServices(t)
	log := &lines{levels: true}
	long := strings.Repeat("x", maxOutput-3)
	p := program("netd", "/bin/sh", "-c", "echo '<4>careful'; echo plain; echo '<3>arcinit: forged'; printf '\\rarcinit: \\033[2K\\377\\0\\n'; echo '<7>"+long+"<3>rest'")
	p.Restart, p.Sinks = Never, []logs.Sink{log}
	if _, err := s.Start(p); err != nil {
		t.Fatal(err)
	}
	<-s.all[0].ended
	s.finishOutput()
	want := "WARN netd: careful\nINFO netd: plain\nERROR netd: arcinit: forged\n" +
		`INFO netd: \rarcinit: \x1b[2K\xff\x00` + "\nDEBUG netd: " + long + "\nDEBUG netd: <3>rest\n"
	if got := log.String(); got != want {
		t.Errorf("the log is\n%s\nwant\n%s", got, want)
	}
}

// slow is a log that takes its time for each line.
type slow struct{ lines }

func (l *slow) Emit(at time.Time, level slog.Level, line string) {
	time.Sleep(20 * time.Millisecond)
	l.lines.Emit(at, level, line)
}

func TestLastWords(t *testing.T) {
	s, _, _ := newServices(t)
	log, dir := &slow{}, t.TempDir()
	say := "echo last; echo words; printf unfinished; exit 0"
	p := program("talker", "/bin/sh", "-c", "trap '"+say+"' TERM; echo up > "+dir+"/up; while :; do sleep 0.02; done")
	p.Sinks = []logs.Sink{log}
	if _, err := s.Start(p); err != nil {
		t.Fatal(err)
	}
	untilUp(dir + "/up")
	s.Stop(t.Context())
	s.finishOutput()
	if got, want := log.String(), "talker: last\ntalker: words\ntalker: unfinished\n"; got != want {
		t.Errorf("the log is %q, want %q", got, want)
	}
}

func TestChildrenThatEndAtOnce(t *testing.T) {
	s, _, _ := newServices(t)
	for range 200 {
		_, exit, err := s.Reaper.Start(program("quick", "/bin/sh", "-c", "exit 9").Command, nil)
		if err != nil {
			t.Fatal(err)
		}
		if status := <-exit; status.ExitStatus() != 9 {
			t.Fatalf("ended with %s", describe(status))
		}
	}
}

// TestProtect has a protected process start children. In a guest, TestRows looks at the children's scores.
func TestProtect(t *testing.T) {
	s, _, _ := newServices(t)
	r := s.Reaper
	r.scoreFile = filepath.Join(t.TempDir(), "oom_score_adj")
	if err := os.WriteFile(r.scoreFile, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	want := func(when, score string) {
		t.Helper()
		if got, err := os.ReadFile(r.scoreFile); err != nil || string(got) != score {
			t.Errorf("%s the score is %q, %v, want %q", when, got, err, score)
		}
	}
	start := func() {
		t.Helper()
		_, exit, err := r.Start(program("", "/bin/true").Command, nil)
		if err != nil {
			t.Fatal(err)
		}
		<-exit
	}
	start()
	want("after the first child", "0")
	for _, changed := range []bool{true, false} {
		if got, err := r.Protect(); err != nil || got != changed {
			t.Errorf("Protect = %v, %v, want %v", got, err, changed)
		}
		want("after Protect", "-999")
		start()
		want("after another child", "-999")
	}
}

func TestCanPowerOff(t *testing.T) {
	const tables = "/firmware/acpi/tables/"
	psci := string(make([]byte, 129)) + "\x01"
	for name, tt := range map[string]struct {
		path, text string
		want       bool
	}{
		"S5":                {tables + "DSDT", "DSDT\x08_S5_\x12", true},
		"S5 in an SSDT":     {tables + "SSDT3", "SSDT\x08_S5_\x12", true},
		"ACPI without S5":   {tables + "DSDT", "DSDT\x08_S0_\x12", false},
		"ACPI with PSCI":    {tables + "FACP", psci, true},
		"ACPI without PSCI": {tables + "FACP", string(make([]byte, 276)), false},
		"a short FADT":      {tables + "FACP", "FACP", false},
		"PSCI":              {"/firmware/devicetree/base/psci/compatible", "arm,psci", true},
		"neither":           {"/firmware/other", "", false},
	} {
		sys := t.TempDir()
		if err := os.MkdirAll(filepath.Dir(sys+tt.path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(sys+tt.path, []byte(tt.text), 0o644); err != nil {
			t.Fatal(err)
		}
		if got := canPowerOff(sys); got != tt.want {
			t.Errorf("with %s: %v, want %v", name, got, tt.want)
		}
	}
}

func TestOrphansAreReaped(t *testing.T) {
	newServices(t)
	// A child that nobody asks about, as an orphan is.
	pid, err := syscall.ForkExec("/bin/true", []string{"true"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	until(func() bool { return syscall.Kill(pid, 0) != nil })
}

// TestAllChildrenAreReaped has a child that outlives the other.
func TestAllChildrenAreReaped(t *testing.T) {
	r := NewReaper(slog.New(slog.DiscardHandler), time.After)
	var exits []<-chan syscall.WaitStatus
	for _, seconds := range []string{"0", "0.1"} {
		_, exit, err := r.Start(program("sleeper", "/bin/sleep", seconds).Command, nil)
		if err != nil {
			t.Fatal(err)
		}
		exits = append(exits, exit)
	}
	r.reapAll()
	for _, exit := range exits {
		select {
		case status := <-exit:
			if status.ExitStatus() != 0 {
				t.Errorf("a child ended with %s", describe(status))
			}
		default:
			t.Error("a child was not reaped")
		}
	}
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

func TestClaim(t *testing.T) {
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	address := fmt.Sprintf("@arcinit-test-%d-%p", os.Getpid(), t)
	// The owner is still that after a panic that has it start over.
	for range 2 {
		if owner, err := Claim(address, log, time.After); err != nil || owner != os.Getpid() {
			t.Fatalf("Claim = %v, %v", owner, err)
		}
	}
	for range 5 {
		if pid, err := Owner(address); err != nil || pid != os.Getpid() {
			t.Errorf("owner = %d, %v", pid, err)
		}
	}
}
