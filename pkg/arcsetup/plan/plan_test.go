package plan

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func runner() *Runner {
	return &Runner{
		Uptime: func() time.Duration { return 0 },
		Log:    slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
}

func outcomes(r *Runner) map[string]Outcome {
	got := map[string]Outcome{}
	for _, res := range r.Results() {
		got[res.Step] = res.Outcome
	}
	return got
}

func does(changed bool, err error) Func { return func() (bool, error) { return changed, err } }

func TestOutcomes(t *testing.T) {
	r := runner()
	r.Run([]Step{
		{Name: "changed", Run: does(true, nil)},
		{Name: "same", Run: does(false, nil)},
		{Name: "gone", Run: does(false, Absent(errors.New("no such share")))},
		{Name: "fallback", Run: does(true, Fallback(errors.New("bad file, default used")))},
		{Name: "fallback again", Run: does(false, Fallback(errors.New("bad file, default used")))},
		{Name: "broken", Run: does(true, errors.New("no space"))},
		{Name: "crashes", Run: func() (bool, error) { panic("boom") }},
	})
	want := map[string]Outcome{"changed": OK, "same": Already, "gone": Unavailable, "fallback": OK, "fallback again": Already, "broken": Failed, "crashes": Failed}
	got := outcomes(r)
	for name, o := range want {
		if got[name] != o {
			t.Errorf("%s ended %q, want %q", name, got[name], o)
		}
	}
}

func TestWorstOfJoinedErrorsCounts(t *testing.T) {
	broken, gone, bad := errors.New("no space"), Absent(errors.New("no share")), Fallback(errors.New("bad file"))
	for _, tt := range []struct {
		err  error
		want Outcome
	}{
		{errors.Join(gone, broken, bad), Failed},
		{errors.Join(bad, gone), Unavailable},
		{errors.Join(bad, bad), OK},
		{fmt.Errorf("share: %w", gone), Unavailable},
		{fmt.Errorf("share: %w", errors.Join(broken, gone)), Failed},
	} {
		r := runner()
		r.Run([]Step{{Name: "s", Run: does(true, tt.err)}})
		if got := outcomes(r)["s"]; got != tt.want {
			t.Errorf("%v ended %q, want %q", tt.err, got, tt.want)
		}
	}
}

func TestNeedsEndFirstEvenIfTheyFail(t *testing.T) {
	var order []string
	note := func(name string, err error) Func {
		return func() (bool, error) { order = append(order, name); return true, err }
	}
	runner().Run([]Step{
		{Name: "a", Run: note("a", errors.New("no"))},
		{Name: "b", Needs: []string{"a"}, Run: note("b", nil)},
		{Name: "c", Needs: []string{"a", "b"}, Run: note("c", nil)},
	})
	if got := strings.Join(order, ""); got != "abc" {
		t.Errorf("ran in the order %q, want abc", got)
	}
}

func TestIndependentStepsRunSideBySide(t *testing.T) {
	// Each waits for the other: run one after the other, they would hang.
	a, b := make(chan struct{}), make(chan struct{})
	done := make(chan struct{})
	go func() {
		runner().Run([]Step{
			{Name: "a", Run: func() (bool, error) { close(a); <-b; return true, nil }},
			{Name: "b", Run: func() (bool, error) { close(b); <-a; return true, nil }},
		})
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("steps that need nothing of each other did not run side by side")
	}
}

// Of the steps that can begin at the same time, the first in the plan begins first.
func TestOrder(t *testing.T) {
	var mu sync.Mutex
	var order []string
	gate := make(chan struct{})
	steps := []Step{{Name: "first", Run: does(true, nil)}}
	for _, name := range []string{"a", "b", "c", "d", "e", "f"} {
		steps = append(steps, Step{Name: name, Needs: []string{"first"}, Run: func() (bool, error) {
			mu.Lock()
			order = append(order, name)
			if len(order) == 6 {
				close(gate)
			}
			mu.Unlock()
			<-gate // so that all six run at once
			return true, nil
		}})
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	runner().Run(steps)
	if got := strings.Join(order, ""); got != "abcdef" {
		t.Errorf("ran in the order %q", got)
	}
}

// TestClockPanics has the first step fail by a panic of the clock. The steps after
// it run all the same.
func TestClockPanics(t *testing.T) {
	r := runner()
	var asked atomic.Int32
	r.Uptime = func() time.Duration {
		if asked.Add(1) == 1 {
			panic("no clock")
		}
		return 0
	}
	r.Run([]Step{
		{Name: "a", Run: does(true, nil)},
		{Name: "b", Needs: []string{"a"}, Run: does(true, nil)},
		{Name: "c", Needs: []string{"a"}, Run: does(true, nil)},
	})
	if got := outcomes(r); got["a"] != Failed || got["b"] != OK || got["c"] != OK {
		t.Errorf("after a panic of the clock: %v", got)
	}
}

func TestCheck(t *testing.T) {
	nop := does(false, nil)
	for _, tt := range []struct {
		name   string
		steps  []Step
		errors int
	}{
		{"good", []Step{{Name: "a", Run: nop}, {Name: "b", Needs: []string{"a"}, Run: nop}}, 0},
		{"same name twice", []Step{{Name: "a", Run: nop}, {Name: "a", Run: nop}}, 1},
		{"need is later", []Step{{Name: "a", Needs: []string{"b"}, Run: nop}, {Name: "b", Run: nop}}, 1},
		{"need is the step itself", []Step{{Name: "a", Needs: []string{"a"}, Run: nop}}, 1},
		{"no function", []Step{{Name: "a"}}, 1},
		{"all at once", []Step{{Name: "a"}, {Name: "a", Needs: []string{"b"}}}, 4},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := split(Check(tt.steps)); len(got) != tt.errors {
				t.Errorf("Check = %v, want %d errors", got, tt.errors)
			}
		})
	}
}

func TestInsert(t *testing.T) {
	steps := []Step{{Name: "a"}, {Name: "b", Needs: []string{"a"}}}
	for before, want := range map[string]string{"a": "x y a b", "b": "a x y b", "nowhere": "a b x y"} {
		got := Insert(steps, before, Step{Name: "x"}, Step{Name: "y"})
		if names := strings.Join(Names(got), " "); names != want {
			t.Errorf("inserted before %s: %s, want %s", before, names, want)
		}
		for _, s := range got {
			if s.Name == "b" && !slices.Equal(s.Needs, []string{"a"}) {
				t.Errorf("inserted before %s: b needs %q", before, s.Needs)
			}
		}
	}
	if names := strings.Join(Names(steps), " "); names != "a b" {
		t.Errorf("the plan given to Insert is %s now", names)
	}
}

func TestAddNeed(t *testing.T) {
	shared := append(make([]string, 0, 2), "a")
	steps := []Step{{Name: "a"}, {Name: "x"}, {Name: "b", Needs: shared}, {Name: "c", Needs: shared}}
	got := AddNeed(AddNeed(steps, "b", "x"), "nowhere", "x")
	if !slices.Equal(got[2].Needs, []string{"a", "x"}) || !slices.Equal(got[3].Needs, []string{"a"}) {
		t.Errorf("b needs %q and c %q, want x added to b alone", got[2].Needs, got[3].Needs)
	}
	if len(steps[2].Needs) != 1 || len(got) != len(steps) {
		t.Errorf("the plan given to AddNeed is %+v now", steps)
	}
}

// TestPriority has a step become ready while later ones wait for the processor: it
// goes first.
func TestPriority(t *testing.T) {
	var order []string // one step at a time: GOMAXPROCS is 1, and no step blocks
	step := func(name string, needs ...string) Step {
		return Step{Name: name, Needs: needs, Run: func() (bool, error) { order = append(order, name); return true, nil }}
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	r := runner()
	r.Run([]Step{step("a"), step("b", "a"), step("c", "b"), step("d"), step("e"), step("f", "d")})
	if got := strings.Join(order, ""); got != "abcdef" {
		t.Errorf("ran in the order %q, want the plan's", got)
	}
	var ended string
	for _, res := range r.Results() {
		ended += res.Step
	}
	if ended != strings.Join(order, "") {
		t.Errorf("results are in the order %q, steps ended in the order %q", ended, order)
	}
}

func TestUnknownNeedStillRuns(t *testing.T) {
	r := runner()
	r.Run([]Step{{Name: "a", Needs: []string{"nowhere"}, Run: does(true, nil)}})
	if got := outcomes(r)["a"]; got != OK {
		t.Errorf("a ended %q, want ok", got)
	}
}

func TestWithoutPassesNeedsOn(t *testing.T) {
	nop := does(false, nil)
	steps := Without([]Step{
		{Name: "a", Run: nop},
		{Name: "b", Needs: []string{"a"}, Run: nop},
		{Name: "c", Needs: []string{"b"}, Run: nop},
		{Name: "d", Needs: []string{"b", "c"}, Run: nop},
	}, "b", "c")
	if err := Check(steps); err != nil {
		t.Errorf("the rest is no plan: %v", err)
	}
	if len(steps) != 2 || !slices.Equal(steps[1].Needs, []string{"a"}) {
		t.Errorf("Without = %+v, want a, and d needing a", steps)
	}
}

func TestEachReasonIsALine(t *testing.T) {
	var logged strings.Builder
	r := runner()
	r.Log = slog.New(slog.NewTextHandler(&logged, nil))
	r.Run([]Step{{Name: "s", Run: does(false, Fallback(errors.Join(errors.New("one"), fmt.Errorf("two: %w", io.EOF))))}})
	if lines := strings.Split(strings.TrimSpace(logged.String()), "\n"); len(lines) != 2 ||
		!strings.Contains(lines[0], "err=one") || !strings.Contains(lines[1], `err="two: EOF"`) {
		t.Errorf("logged %q", logged.String())
	}
}

// timers is the clock of a Runner whose limits pass when a test says so.
type timers struct {
	mu  sync.Mutex
	all []func()
}

func (t *timers) after(_ time.Duration, f func()) (stop func() bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	i := len(t.all)
	t.all = append(t.all, f)
	return func() bool {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.all[i] = nil
		return true
	}
}

// pass passes the limits of all that still runs.
func (t *timers) pass() {
	t.mu.Lock()
	all := slices.Clone(t.all)
	t.mu.Unlock()
	for _, f := range all {
		if f != nil {
			f()
		}
	}
}

// limited is a Runner with timers, and the channel that gets an entry for each late step.
func limited() (*Runner, *timers, chan bool) {
	r, clock, late := runner(), &timers{}, make(chan bool, 10)
	r.AfterFunc, r.Late = clock.after, func() { late <- true }
	return r, clock, late
}

// runHanging runs the step hang under the name "hangs", and next, which needs that step. It returns when the step hangs:
// until release is closed. ended is closed at the end of the run.
func runHanging(r *Runner, hang, next Step) (release, ended chan bool) {
	hangs := make(chan bool)
	release, ended = make(chan bool), make(chan bool)
	hang.Name, hang.Run = "hangs", func() (bool, error) { close(hangs); <-release; return true, nil }
	next.Needs = []string{"hangs"}
	go func() {
		r.Run([]Step{hang, next})
		close(ended)
	}()
	<-hangs
	return release, ended
}

// TestLimit has a step that hangs. The step that needs it goes on, and Run ends. When the step ends after
// all, its result takes the place of the other.
func TestLimit(t *testing.T) {
	r, clock, late := limited()
	release, ended := runHanging(r, Step{On: "the share x"}, Step{Name: "next", Run: does(true, nil)})
	clock.pass()
	<-ended
	if got := r.Results(); len(got) != 2 || got[0].Outcome != Failed || !strings.Contains(got[0].Error, "the share x") || got[1].Outcome != OK {
		t.Errorf("after the limit: %+v", got)
	}
	close(release)
	<-late
	clock.pass() // too late
	if got := r.Results(); len(got) != 2 || got[0].Step != "hangs" || got[0].Outcome != OK || got[0].Error != "" {
		t.Errorf("after the end: %+v", got)
	}
}

// TestGiveUpRefused has a step that must not be given up.
func TestGiveUpRefused(t *testing.T) {
	r, clock, late := limited()
	asked := make(chan bool, 1)
	release, ended := runHanging(r, Step{GiveUp: func() bool { asked <- true; return false }}, Step{Name: "next", Run: does(true, nil)})
	clock.pass()
	<-asked
	if got := r.Results(); len(got) != 0 {
		t.Errorf("at the limit: %+v", got)
	}
	close(release)
	<-ended
	if got := r.Results(); len(got) != 2 || got[0].Step != "hangs" || len(late) > 0 {
		t.Errorf("at the end: %+v", got)
	}
}

// TestPatience has a step that begins although one that it needs hangs.
func TestPatience(t *testing.T) {
	r, clock, _ := limited()
	began := make(chan bool, 2)
	release, ended := runHanging(r, Step{Limit: func() time.Duration { return -1 }},
		Step{Name: "eager", Patience: time.Second, Run: func() (bool, error) { began <- true; return true, nil }})
	clock.pass()
	<-began
	close(release)
	<-ended
	if got := outcomes(r); len(got) != 2 || len(began) > 0 {
		t.Errorf("outcomes %v, and the eager step ran %d times more", got, len(began))
	}
}
