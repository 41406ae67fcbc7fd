// Package plan runs a set-up that is written down as data: a list of named
// steps, each with what it needs and a function. It knows nothing of guests,
// mounts or networks; it orders, runs, times and reports.
package plan

import (
	"errors"
	"fmt"
	"slices"
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

// Func does the work of a step. It reports whether it changed anything, and
// does all it can before it returns an error (errors.Join). An error ends the
// step as failed, unless Absent or Fallback made it. It must be idempotent:
// called again, it changes nothing and returns false.
type Func func() (changed bool, err error)

// Step is one entry of a plan.
type Step struct {
	Name  string   // unique in the plan
	Doc   string   // what holds after it, in a line
	Needs []string // steps, earlier in the plan, that must have ended before
	Run   Func
}

// severity orders what an error of a step can mean, mildest first.
type severity int

const (
	none severity = iota
	warning
	absence
	failure
)

// marked is an error that is less than a failure.
type marked struct {
	error
	severity severity
}

func (m marked) Unwrap() error { return m.error }

// Absent marks err as saying that something optional is not there.
func Absent(err error) error { return marked{err, absence} }

// Fallback marks err as the reason why a step holds by a fallback: the step
// ends as if there were no error, and the reason is logged as a warning.
func Fallback(err error) error { return marked{err, warning} }

// severityOf returns the worst that err stands for, marks on joined errors
// counting one by one: absence beside a failure is a failure.
func severityOf(err error) severity {
	switch e := err.(type) {
	case nil:
		return none
	case marked:
		return e.severity
	case interface{ Unwrap() []error }:
		worst := none
		for _, part := range e.Unwrap() {
			worst = max(worst, severityOf(part))
		}
		return worst
	case interface{ Unwrap() error }:
		if inner := e.Unwrap(); inner != nil {
			return severityOf(inner)
		}
	}
	return failure
}

// Check reports what is wrong with the steps as a plan: a name used twice, a
// missing function, or a need that no earlier step has. Needs that point back
// only make the list readable from top to bottom and cycles impossible.
func Check(steps []Step) error {
	var errs []error
	seen := map[string]bool{}
	for _, s := range steps {
		if seen[s.Name] {
			errs = append(errs, fmt.Errorf("step %q is there twice", s.Name))
		}
		if s.Run == nil {
			errs = append(errs, fmt.Errorf("step %q has no function", s.Name))
		}
		for _, need := range s.Needs {
			if !seen[need] {
				errs = append(errs, fmt.Errorf("step %q needs %q, which is not before it", s.Name, need))
			}
		}
		seen[s.Name] = true
	}
	return errors.Join(errs...)
}

// Names lists the names of the steps, in order.
func Names(steps []Step) []string {
	names := make([]string, len(steps))
	for i, s := range steps {
		names[i] = s.Name
	}
	return names
}

// Without returns the plan less the named steps. What needed one of them needs
// what that one needed.
func Without(steps []Step, names ...string) []Step {
	inherited := map[string][]string{}
	var kept []Step
	for _, s := range steps {
		var needs []string
		for _, need := range s.Needs {
			if slices.Contains(names, need) {
				needs = append(needs, inherited[need]...)
			} else {
				needs = append(needs, need)
			}
		}
		slices.Sort(needs)
		needs = slices.Compact(needs)
		if slices.Contains(names, s.Name) {
			inherited[s.Name] = needs
			continue
		}
		s.Needs = needs
		kept = append(kept, s)
	}
	return kept
}
