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
// ended: a step that fails does not keep others from trying. It returns when
// all have ended. A need that names no earlier step is passed over with a
// warning, so that a wrong plan still boots.
func (r *Runner) Run(steps []Step) {
	if err := Check(steps); err != nil {
		r.Log.Warn("plan", "err", err)
	}
	ended := map[string]chan struct{}{}
	var all sync.WaitGroup
	for _, s := range steps {
		var waits []chan struct{}
		for _, need := range s.Needs {
			if done, ok := ended[need]; ok {
				waits = append(waits, done)
			}
		}
		done := make(chan struct{})
		ended[s.Name] = done
		all.Add(1)
		guarded.Go(r.Log, "step "+s.Name, func() {
			defer all.Done()
			defer close(done)
			for _, w := range waits {
				<-w
			}
			r.step(s)
		})
	}
	all.Wait()
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
