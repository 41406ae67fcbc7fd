package plan

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/arcinit/arcinit/pkg/arcsetup/guarded"
)

// Result is what came of one step.
type Result struct {
	Step    string   `json:"step"`
	Doc     string   `json:"doc"`
	Needs   []string `json:"needs,omitempty"`
	Outcome Outcome  `json:"outcome"`
	// Start and End are times since the kernel's boot, in nanoseconds.
	Start time.Duration `json:"start_ns"`
	End   time.Duration `json:"end_ns"`
	// Error says why the step failed or its object is unavailable, or, of a
	// step that holds, why it does so by a fallback.
	Error string `json:"error,omitempty"`
	// Err is the error itself; a report that was read again has none.
	Err error `json:"-"`
}

// Runner runs plans and keeps the results.
type Runner struct {
	// Uptime tells the time since the kernel's boot.
	Uptime func() time.Duration
	// Log gets a line a step: failures as errors, what is absent or was so
	// already as debug.
	Log *slog.Logger

	mu      sync.Mutex
	results []Result
}

// Run runs the steps, each as soon as what it needs has ended, however that
// ended: a step that fails does not keep others from trying. Of steps that could
// begin at the same time, those that come first in the plan do. Run returns when
// all have ended. A need that names no earlier step is passed over with a
// warning, so that a wrong plan still boots.
func (r *Runner) Run(steps []Step) {
	if err := Check(steps); err != nil {
		r.Log.Warn("plan", "err", err)
	}
	all := make([]pending, len(steps))
	byName := make(map[string]*pending, len(steps))
	var ready []*pending
	for i, s := range steps {
		p := &all[i]
		p.Step = s
		for _, need := range s.Needs {
			if needed, ok := byName[need]; ok {
				needed.followers = append(needed.followers, p)
				p.needs++
			}
		}
		byName[s.Name] = p
		if p.needs == 0 {
			ready = append(ready, p)
		}
	}
	run := &run{Runner: r}
	run.all.Add(len(steps))
	for _, p := range ready {
		run.begin(p)
	}
	run.all.Wait()
}

// run is one run of a plan.
type run struct {
	*Runner
	all sync.WaitGroup // steps

	mu sync.Mutex // guards what the steps still need
}

// pending is a step and what stands between it and its beginning.
type pending struct {
	Step
	needs     int        // how many steps that it needs have not ended
	followers []*pending // that need it, in the order of the plan
}

// begin runs a step on a goroutine of its own, and then, on the same, the first
// of those that it was the last need of; the others begin side by side.
func (r *run) begin(p *pending) {
	guarded.Go(r.Log, "steps from "+p.Name, func() {
		for p != nil {
			err := guarded.Call("step "+p.Name, func() error { r.step(p.Step); return nil })
			ready := r.ended(p)
			p = nil
			if err == nil && len(ready) > 0 {
				p, ready = ready[0], ready[1:]
			}
			for _, other := range ready {
				r.begin(other)
			}
			r.all.Done()
			if err != nil {
				// Whatever panicked beside the step's own function may do so again.
				r.Log.Error("step", "err", err)
			}
		}
	})
}

// ended returns the steps that need no other any more, now that p has ended.
func (r *run) ended(p *pending) (ready []*pending) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range p.followers {
		if f.needs--; f.needs == 0 {
			ready = append(ready, f)
		}
	}
	return ready
}

// step runs one step and logs and keeps what came of it.
func (r *Runner) step(s Step) {
	res := Result{Step: s.Name, Doc: s.Doc, Needs: s.Needs, Start: r.Uptime()}
	var changed bool
	err := guarded.Call(s.Name, func() (err error) {
		changed, err = s.Run()
		return err
	})
	res.End = r.Uptime()
	if err != nil {
		res.Err, res.Error = err, err.Error()
	}
	level := slog.LevelDebug
	switch severityOf(err) {
	case failure:
		res.Outcome, level = Failed, slog.LevelError
	case absence:
		res.Outcome = Unavailable
	case warning:
		level = slog.LevelWarn
		fallthrough
	default:
		res.Outcome = Already
		if changed {
			res.Outcome, level = OK, max(level, slog.LevelInfo)
		}
	}
	attrs := []any{
		"outcome", res.Outcome, "took", (res.End - res.Start).Round(10 * time.Microsecond),
	}
	if err == nil {
		r.Log.Log(context.Background(), level, s.Name, attrs...)
	}
	// A line for each thing that is wrong, so that none is cut off.
	for _, reason := range reasons(err) {
		r.Log.Log(context.Background(), level, s.Name, append(attrs, "err", reason)...)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.results = append(r.results, res)
}

// reasons takes joined errors apart.
func reasons(err error) []error {
	switch e := err.(type) {
	case nil:
		return nil
	case marked:
		return reasons(e.error)
	case interface{ Unwrap() []error }:
		var all []error
		for _, part := range e.Unwrap() {
			all = append(all, reasons(part)...)
		}
		return all
	}
	return []error{err}
}

// Results returns what came of the steps that have ended so far, in the order
// in which they ended.
func (r *Runner) Results() []Result {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Result(nil), r.results...)
}
