package plan

import (
	"context"
	"log/slog"
	"runtime"
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
	// Log gets a line for each step that ends, or for each of its errors: a failure at error level, a
	// fallback as a warning, a change at info level, the rest at debug level.
	Log *slog.Logger

	mu      sync.Mutex // guards results, and the run in progress
	results []Result
}

// Run runs the steps and returns when all have ended. Each begins as soon as the steps that it needs have
// ended, however those ended. Of the steps that can begin at the same time, the first in the plan begins
// first. A need that is not an earlier step is ignored with a warning, so that a wrong plan still boots.
func (r *Runner) Run(steps []Step) {
	run := run{Runner: r, steps: steps, waits: make([]int, len(steps)), followers: make([][]int, len(steps))}
	index := make(map[string]int, len(steps))
	for i, s := range steps {
		for _, need := range s.Needs {
			if needed, ok := index[need]; ok {
				run.followers[needed] = append(run.followers[needed], i)
				run.waits[i]++
			} else {
				r.Log.Warn("ignored a need that is not an earlier step", "step", s.Name, "need", need)
			}
		}
		index[s.Name] = i
		if run.waits[i] == 0 {
			run.ready = append(run.ready, i)
		}
	}
	run.start(len(run.ready))
	run.running.Wait()
}

// run is one run of a plan. It knows steps by their index in the plan.
type run struct {
	*Runner
	steps     []Step
	waits     []int   // how many of the steps that each step needs have not ended
	followers [][]int // the steps that need each step
	// ready are the steps that can begin, in order. Each has a goroutine that is about to take a step:
	// always the first, since the scheduler may run those goroutines in any order.
	ready   []int
	running sync.WaitGroup
}

// start starts a goroutine for each of n steps that became ready.
func (r *run) start(n int) {
	r.running.Add(n)
	for range n {
		guarded.Go(r.Log, "step", func() {
			defer r.running.Done()
			i := r.next()
			res := r.step(r.steps[i])
			r.start(r.end(i, res))
			// Steps go first: on one processor, writing a log line takes as long as a short step.
			runtime.Gosched()
			r.log(res)
		})
	}
}

// next takes the first of the ready steps.
func (r *run) next() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	first := r.ready[0]
	r.ready = r.ready[1:]
	return first
}

// end keeps the result of step i and returns how many steps it has made ready.
func (r *run) end(i int, res Result) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.results = append(r.results, res)
	for _, f := range r.followers[i] {
		if r.waits[f]--; r.waits[f] == 0 {
			r.ready = append(r.ready, f)
			n++
		}
	}
	slices.Sort(r.ready)
	return n
}

// step runs one step. A panic, in the step or in the clock, is a failure.
func (r *Runner) step(s Step) Result {
	res := Result{Step: s.Name, Doc: s.Doc, Needs: s.Needs, Outcome: Already}
	changed := false
	res.Err = guarded.Call(s.Name, func() (err error) {
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

// log logs how a step ended: a line for each of its errors, so that no line is too
// long for the kernel log.
func (r *Runner) log(res Result) {
	level, event := slog.LevelDebug, "step ended"
	switch {
	case res.Outcome == Failed:
		level, event = slog.LevelError, "step failed"
	case severityOf(res.Err) == warning:
		level = slog.LevelWarn
	case res.Outcome == OK:
		level = slog.LevelInfo
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
