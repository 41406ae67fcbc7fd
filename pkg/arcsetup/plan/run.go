package plan

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/arcinit/arcinit/internal/guarded"
)

// Result is how one step ended.
type Result struct {
	Step    string   `json:"step"`
	Doc     string   `json:"doc"`
	Needs   []string `json:"needs,omitempty"`
	Outcome Outcome  `json:"outcome"`
	// Start and End are times since the kernel's boot, in nanoseconds.
	Start time.Duration `json:"start_ns"`
	End   time.Duration `json:"end_ns"`
	Error string        `json:"error,omitempty"` // why the step failed, is unavailable, or used a fallback
	Err   error         `json:"-"`               // the error itself; nil in a Result that was read from JSON
}

// Runner runs plans and keeps the results.
type Runner struct {
	Uptime func() time.Duration // returns the time since the kernel's boot
	// Log gets a line for each step that ends, or for each of its errors: a failure at error level, a fallback as a warning, the rest at debug level.
	Log *slog.Logger
	// AfterFunc calls f on a goroutine of its own after d, unless stop is called before (time.AfterFunc). If it is nil, steps have no limits.
	AfterFunc func(d time.Duration, f func()) (stop func() bool)
	// Late, if not nil, is called when a step has ended after its limit: its result is another now.
	Late func()

	mu      sync.Mutex // guards results, and the run in progress
	results []Result
}

// Run runs the steps and returns when all have ended, or have been given up at their limits. Each begins as soon as the
// steps that it needs have ended, however those ended. Of the steps that can begin at the same time, the first in the
// plan begins first. A need that is not an earlier step is ignored with a warning, so that a wrong plan still boots.
func (r *Runner) Run(steps []Step) {
	run := run{Runner: r, steps: steps, states: make([]state, len(steps))}
	if err := Check(steps); err != nil {
		r.Log.Warn("the plan is wrong", "err", err)
	}
	index := make(map[string]int, len(steps))
	for i, s := range steps {
		for _, need := range s.Needs {
			if needed, ok := index[need]; ok {
				run.states[needed].followers = append(run.states[needed].followers, i)
				run.states[i].waits++
			}
		}
		index[s.Name] = i
	}
	for i, s := range steps {
		if s.Patience > 0 {
			defer run.after(s.Patience, func() {
				r.mu.Lock()
				defer r.mu.Unlock()
				run.begin(i)
			})()
		}
	}
	r.mu.Lock()
	for i := range steps {
		if run.states[i].waits == 0 {
			run.begin(i)
		}
	}
	r.mu.Unlock()
	run.running.Wait()
}

// run is one run of a plan. It knows steps by their index in the plan. Runner.mu guards states and ready.
type run struct {
	*Runner
	steps  []Step
	states []state
	// ready are the steps that can begin, in order. Each has a goroutine that is about to take a step:
	// always the first, since the scheduler may run those goroutines in any order.
	ready   []int
	running sync.WaitGroup
}

// state is what has become of a step.
type state struct {
	waits     int   // how many of the steps that it needs have not ended
	followers []int // the steps that need it
	begun     bool
	result    int // its place in Runner.results, counted from 1; 0 until it has ended or was given up
}

// begin starts a goroutine for step i, unless the step has begun. The caller holds Runner.mu.
func (r *run) begin(i int) {
	if r.states[i].begun {
		return
	}
	r.states[i].begun = true
	r.running.Add(1)
	r.ready = append(r.ready, i)
	slices.Sort(r.ready)
	guarded.Go(r.Log, "step", func() {
		i := r.next()
		limit := DefaultLimit
		if r.steps[i].Limit != nil {
			limit = r.steps[i].Limit()
		}
		stop := r.after(limit, func() { r.giveUp(i, limit) })
		res := r.step(r.steps[i])
		stop()
		r.end(i, res, false)
	})
}

// after is AfterFunc for a limit, which may be none.
func (r *run) after(limit time.Duration, f func()) (stop func() bool) {
	if r.AfterFunc == nil || limit < 0 {
		return func() bool { return true }
	}
	return r.AfterFunc(limit, func() { guarded.Go(r.Log, "limit of a step", f) })
}

// next takes the first of the ready steps.
func (r *run) next() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	first := r.ready[0]
	r.ready = r.ready[1:]
	return first
}

// end keeps the result of step i, begins the steps that have only waited for it, and logs it. A step that was given up
// ends a second time. It is not given up when it has ended already.
func (r *run) end(i int, res Result, givenUp bool) {
	r.mu.Lock()
	state := &r.states[i]
	before := state.result
	switch {
	case before == 0:
		r.results = append(r.results, res)
		state.result = len(r.results)
		for _, f := range state.followers {
			if r.states[f].waits--; r.states[f].waits == 0 {
				r.begin(f)
			}
		}
	case !givenUp:
		r.results[before-1] = res
	}
	r.mu.Unlock()
	if before != 0 && givenUp {
		return
	}
	r.log(res)
	if before == 0 {
		r.running.Done()
		return
	}
	r.Log.Warn("step ended after its limit", "step", res.Step, "outcome", res.Outcome)
	if r.Late != nil {
		r.Late()
	}
}

// giveUp ends step i, which is still running at its limit, for the steps that need it.
func (r *run) giveUp(i int, limit time.Duration) {
	s := r.steps[i]
	err := fmt.Errorf("still running after %v", limit)
	if s.On != "" {
		err = fmt.Errorf("%w: %s does not answer", err, s.On)
	}
	if s.GiveUp != nil && !s.GiveUp() {
		r.Log.Warn("the step exceeds its limit; still waiting for it", "step", s.Name, "err", err)
		return
	}
	now := r.Uptime()
	r.end(i, Result{Step: s.Name, Doc: s.Doc, Needs: s.Needs, Outcome: Failed, Start: now - limit, End: now, Error: err.Error(), Err: err}, true)
}

// step runs one step. A panic, in the step or in the clock, is a failure.
func (r *Runner) step(s Step) Result {
	res := Result{Step: s.Name, Doc: s.Doc, Needs: s.Needs, Outcome: Already}
	changed := false
	res.Err = guarded.Call("step "+s.Name, func() (err error) {
		res.Start = r.Uptime()
		defer func() { res.End = r.Uptime() }()
		changed, err = s.Run()
		return err
	})
	if res.Err != nil {
		res.Error = res.Err.Error()
	}
	switch severity := severityOf(res.Err); {
	case severity == failure:
		res.Outcome = Failed
	case severity == absence:
		res.Outcome = Unavailable
	case changed:
		res.Outcome = OK
	}
	return res
}

// log logs how a step ended: a line for each of its errors, so that no line is too long for the kernel log.
func (r *Runner) log(res Result) {
	level, event := slog.LevelDebug, "step ended"
	switch {
	case res.Outcome == Failed:
		level, event = slog.LevelError, "step failed"
	case severityOf(res.Err) == warning:
		level = slog.LevelWarn
	}
	attrs := []any{"step", res.Step, "outcome", res.Outcome, "took", (res.End - res.Start).Round(10 * time.Microsecond)}
	if res.Err == nil {
		r.Log.Log(context.Background(), level, event, attrs...)
	}
	for _, part := range split(res.Err) {
		r.Log.Log(context.Background(), level, event, append(attrs, "err", part.error)...)
	}
}

// Results returns the results of the steps that have ended so far, in the order in which they ended.
func (r *Runner) Results() []Result {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.results)
}
