// Package plan runs a set-up that is written down as data: a list of named steps, each with a function and the names of
// the steps that it needs. The package orders, runs, times and reports the steps. It must not know what they do.
package plan

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// Outcome is how a step ended.
type Outcome string

// The four ways a step can end.
const (
	OK          Outcome = "ok"          // it changed something, and all of it worked
	Already     Outcome = "already"     // everything was as it should be
	Unavailable Outcome = "unavailable" // optional, and absent from this machine
	Failed      Outcome = "failed"      // some of it does not hold
)

// Func does the work of a step and reports whether it changed anything. It does all that it can before it returns the errors, joined (errors.Join).
// An error ends the step as failed, unless Absent or Fallback marks it. Func must be idempotent: a second call changes nothing and returns false.
type Func func() (changed bool, err error)

// Step is one entry of a plan.
type Step struct {
	Name  string   // unique in the plan
	Doc   string   // one line: what holds when the step has ended
	Needs []string // names of earlier steps, which must have ended first
	Run   Func

	// Limit is how long Run may take before the steps that need it go on, as after a failure. Nil stands
	// for DefaultLimit, a result below zero for no limit.
	Limit func() time.Duration
	// On names what Run may have to wait for, such as a share. The error of a step that takes too long has it.
	On string
	// GiveUp, if not nil, is called at the limit. If it returns false, the steps that need this one wait for its end after all.
	GiveUp func() bool
	// Patience, unless it is zero, is how long after the plan's start the step begins at the latest, whatever has become of the steps that it needs.
	Patience time.Duration
}

// DefaultLimit is the limit of a step that names none.
const DefaultLimit = 5 * time.Second

// severity is how bad an error of a step is, mildest first. 0 is no error.
type severity int

const (
	warning severity = iota + 1
	absence
	failure
)

// marked is an error with a severity of its own. Others are failures.
type marked struct {
	error
	severity severity
}

func (m marked) Unwrap() error { return m.error }

// Absent marks err as the reason why something optional is not there: the step ends as unavailable, and the reason is logged at debug level.
func Absent(err error) error { return marked{err, absence} }

// Fallback marks err as the reason why a step used a fallback: the step ends as if there were no error, and the reason is logged as a warning.
func Fallback(err error) error { return marked{err, warning} }

// split returns the errors that err joins, each with its severity.
func split(err error) (parts []marked) {
	switch e := err.(type) {
	case nil:
	case marked:
		for _, part := range split(e.error) {
			parts = append(parts, marked{part.error, e.severity})
		}
	case interface{ Unwrap() []error }:
		for _, part := range e.Unwrap() {
			parts = append(parts, split(part)...)
		}
	default:
		parts = []marked{{err, failure}}
		if inner := errors.Unwrap(err); inner != nil {
			parts[0].severity = severityOf(inner)
		}
	}
	return parts
}

// severityOf returns how bad err is: for joined errors, the worst among them.
func severityOf(err error) (worst severity) {
	for _, part := range split(err) {
		worst = max(worst, part.severity)
	}
	return worst
}

// Check reports what is wrong with the plan: a name used twice, a missing function, or a need that is not an
// earlier step. Needs only point back, so a plan reads from top to bottom and has no cycles.
func Check(steps []Step) (err error) {
	names := Names(steps)
	for i, s := range steps {
		earlier := names[:i]
		if slices.Contains(earlier, s.Name) {
			err = errors.Join(err, fmt.Errorf("two steps have the name %q", s.Name))
		}
		if s.Run == nil {
			err = errors.Join(err, fmt.Errorf("step %q has no function", s.Name))
		}
		for _, need := range s.Needs {
			if !slices.Contains(earlier, need) {
				err = errors.Join(err, fmt.Errorf("step %q needs %q, which is not an earlier step", s.Name, need))
			}
		}
	}
	return err
}

// Names returns the names of the steps, in order.
func Names(steps []Step) []string {
	names := make([]string, len(steps))
	for i, s := range steps {
		names[i] = s.Name
	}
	return names
}

// Insert returns the plan with more in front of the step named before, or at the end if there is no such step. It changes no needs.
func Insert(steps []Step, before string, more ...Step) []Step {
	at := slices.IndexFunc(steps, func(s Step) bool { return s.Name == before })
	if at < 0 {
		at = len(steps)
	}
	return slices.Insert(slices.Clone(steps), at, more...)
}

// AddNeed returns the plan with one more need of the named step. A plan without that step stays as it is.
func AddNeed(steps []Step, name, need string) []Step {
	steps = slices.Clone(steps)
	for i, s := range steps {
		if s.Name == name {
			steps[i].Needs = slices.Concat(s.Needs, []string{need})
		}
	}
	return steps
}

// Without returns the plan without the named steps. A step that needed one of them needs what the removed step needed instead.
func Without(steps []Step, names ...string) []Step {
	removed := map[string][]string{} // what each removed step needed
	var kept []Step
	for _, s := range steps {
		var needs []string
		for _, need := range s.Needs {
			if inherited, ok := removed[need]; ok {
				needs = append(needs, inherited...)
			} else {
				needs = append(needs, need)
			}
		}
		slices.Sort(needs)
		s.Needs = slices.Compact(needs)
		if slices.Contains(names, s.Name) {
			removed[s.Name] = s.Needs
		} else {
			kept = append(kept, s)
		}
	}
	return kept
}
