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
	run := &run{Runner: r, said: make(chan Result, len(steps))}
	byName := make(map[string]*pending, len(steps))
	for i, s := range steps {
		p := &pending{Step: s, place: i}
		for _, need := range s.Needs {
			if needed, ok := byName[need]; ok {
				needed.followers = append(needed.followers, p)
				p.needs++
			} else {
				r.Log.Warn("plan: a need is not before its step", "step", s.Name, "need", need)
			}
		}
		byName[s.Name] = p
		if p.needs == 0 {
			run.ready = append(run.ready, p)
		}
	}
	run.all.Add(len(steps))
	logged := make(chan struct{})
	guarded.Go(r.Log, "log of the steps", func() {
		defer close(logged)
		run.log()
	})
	run.begin(len(run.ready))
	run.all.Wait()
	close(run.said)
	<-logged
}

// run is one run of a plan.
type run struct {
	*Runner
	all  sync.WaitGroup // steps
	said chan Result    // has room for all of them

	mu sync.Mutex // guards what follows, and what the steps still need
	// ready are the steps that can begin, in the plan's order. As many
	// goroutines are about to take one each, whatever order the scheduler has
	// them run in.
	ready []*pending
}

// pending is a step and what stands between it and its beginning.
type pending struct {
	Step
	place     int        // in the plan
	needs     int        // how many steps that it needs have not ended
	followers []*pending // that need it
}

// begin has n more steps run side by side. Each goroutine goes on with another
// step when it has ended one that others waited for.
func (r *run) begin(n int) {
	for range n {
		guarded.Go(r.Log, "steps", func() {
			for goOn := true; goOn; {
				p := r.next()
				err := guarded.Call("step "+p.Name, func() error { r.step(p.Step); return nil })
				n := r.ended(p)
				if goOn = n > 0 && err == nil; goOn {
					n--
				}
				r.begin(n)
				r.all.Done()
				if err != nil {
					// What panicked beside the step's own function may do so again.
					r.Log.Error("step", "step", p.Name, "err", err)
				}
			}
		})
	}
}

// next takes the first of the steps that are ready.
func (r *run) next() *pending {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.ready[0]
	r.ready = slices.Delete(r.ready, 0, 1)
	return p
}

// ended notes that p has, and returns how many steps are ready now that were not
// before.
func (r *run) ended(p *pending) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range p.followers {
		if f.needs--; f.needs == 0 {
			at, _ := slices.BinarySearchFunc(r.ready, f, func(a, b *pending) int { return a.place - b.place })
			r.ready = slices.Insert(r.ready, at, f)
			n++
		}
	}
	return n
}

// step runs one step, keeps what came of it, and has it logged.
func (r *run) step(s Step) {
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
	switch severityOf(err) {
	case failure:
		res.Outcome = Failed
	case absence:
		res.Outcome = Unavailable
	default:
		res.Outcome = Already
		if changed {
			res.Outcome = OK
		}
	}
	r.keep(res)
	r.said <- res
}

// log logs the results, each when no step has anything to do: on one processor a
// line takes as long as a short step.
func (r *run) log() {
	for res := range r.said {
		runtime.Gosched()
		r.Runner.log(res)
	}
}

// log logs a result: a line for each thing that is wrong, so that none is cut off.
func (r *Runner) log(res Result) {
	level := slog.LevelDebug
	switch {
	case res.Outcome == Failed:
		level = slog.LevelError
	case severityOf(res.Err) == warning:
		level = slog.LevelWarn
	case res.Outcome == OK:
		level = slog.LevelInfo
	}
	attrs := []any{
		"outcome", res.Outcome, "took", (res.End - res.Start).Round(10 * time.Microsecond),
	}
	if res.Err == nil {
		r.Log.Log(context.Background(), level, res.Step, attrs...)
	}
	for _, reason := range reasons(res.Err) {
		r.Log.Log(context.Background(), level, res.Step, append(attrs, "err", reason)...)
	}
}

func (r *Runner) keep(res Result) {
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
