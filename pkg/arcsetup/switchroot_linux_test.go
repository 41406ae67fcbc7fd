package arcsetup

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/arcinit/arcinit/internal/disks"
	"github.com/arcinit/arcinit/pkg/arcsetup/config"
	"github.com/arcinit/arcinit/pkg/arcsetup/plan"
)

// TestRootSwitchesAlone makes sure that no step can run beside switchroot.
func TestRootSwitchesAlone(t *testing.T) {
	steps, later := Plan(newGuest(t, nil))
	steps = append(steps, later...)
	here := slices.Index(plan.Names(steps), "switchroot")
	if here < 0 {
		t.Fatal("no step switchroot")
	}
	if got, want := steps[here].Needs, plan.Names(steps[:here]); !slices.Equal(got, want) {
		t.Errorf("it needs %v, want all before it, %v", got, want)
	}
	after := map[string]bool{"switchroot": true}
	for _, s := range steps[here+1:] {
		after[s.Name] = slices.ContainsFunc(s.Needs, func(need string) bool { return after[need] })
		if !after[s.Name] {
			t.Errorf("step %s does not wait for it", s.Name)
		}
	}
}

// clock is a time that passes when the shortest wait of a select, which is asked
// for last, begins. Only the one that is due first ends it.
type clock struct {
	t      *testing.T
	now    time.Duration
	timers []timer
}

type timer struct {
	due  time.Duration
	ends chan time.Time
}

func (c *clock) after(d time.Duration) <-chan time.Time {
	t := timer{c.now + d, make(chan time.Time, 1)}
	if d >= rootNotice {
		c.timers = append(c.timers, t)
		return t.ends
	}
	if d > maxRootRetry {
		c.t.Errorf("%v between two tries", d)
	}
	first := t
	for i, other := range c.timers {
		if other.due <= first.due {
			first = other
			c.timers = slices.Delete(c.timers, i, i+1)
			break
		}
	}
	c.now = first.due
	first.ends <- time.Time{}
	return t.ends
}

func TestAwait(t *testing.T) {
	broken := errors.New("broken")
	for _, tt := range []struct {
		name   string
		limit  time.Duration
		comes  time.Duration // when try finds it, or breaks
		err    error
		want   string // in the error
		until  time.Duration
		notice []time.Duration
	}{
		{name: "there", limit: 10 * time.Second},
		{name: "soon", limit: 10 * time.Second, comes: 3 * time.Second, until: 3 * time.Second},
		{name: "another error", limit: 10 * time.Second, comes: time.Second, err: broken, want: "broken", until: time.Second},
		{name: "too late", limit: 12 * time.Second, comes: time.Hour, want: "12s", until: 12 * time.Second,
			notice: []time.Duration{5 * time.Second, 10 * time.Second}},
		{name: "between notices", limit: 9 * time.Second, comes: time.Hour, want: "9s", until: 9 * time.Second,
			notice: []time.Duration{5 * time.Second}},
		{name: "for ever", limit: config.WaitForever, comes: 50 * time.Second, until: 50 * time.Second,
			notice: []time.Duration{5 * time.Second, 10 * time.Second, 20 * time.Second, 40 * time.Second}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := &clock{t: t}
			g := newGuest(t, nil)
			g.After = c.after
			var notices []time.Duration
			g.Waiting = func(what string, taken time.Duration, there string) {
				if what != "root=x" || there != disks.Describe(g.Root) || c.now < taken {
					t.Errorf("Waiting(%q, %v, %q) at %v", what, taken, there, c.now)
				}
				notices = append(notices, taken)
			}
			tries := 0
			err := g.await("root=x", tt.limit, func() error {
				tries++
				if c.now < tt.comes {
					return disks.ErrNotThere
				}
				return tt.err
			})
			if (err != nil) != (tt.want != "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error = %v, want %q in it", err, tt.want)
			}
			if c.now < tt.until || c.now > tt.until+maxRootRetry {
				t.Errorf("it ended after %v, want %v", c.now, tt.until)
			}
			if !slices.Equal(notices, tt.notice) {
				t.Errorf("notices at %v, want %v", notices, tt.notice)
			}
			if most := int(tt.until/maxRootRetry) + 8; tries > most {
				t.Errorf("%d tries in %v", tries, tt.until)
			}
		})
	}
}

func TestDeleteBelow(t *testing.T) {
	g := newGuest(t, map[string]string{
		"/init": "", "/bin/uinit": "", "/usr/lib/modules/6/m.ko": "m", "/usr/lib/firmware": "", "/deep/er/file": "",
	})
	outside := filepath.Join(t.TempDir(), "outside")
	if err := errors.Join(
		os.WriteFile(outside, nil, 0o644),
		os.Symlink("usr/lib", g.path("/lib")), os.Symlink(filepath.Dir(outside), g.path("/away")),
	); err != nil {
		t.Fatal(err)
	}
	keep, err := filepath.EvalSymlinks(g.path("/lib/modules"))
	if err != nil {
		t.Fatal(err)
	}
	if err := deleteBelow(g.Root, keep); err != nil {
		t.Errorf("deleteBelow: %v", err)
	}
	left, _ := filepath.Glob(g.path("/*"))
	below, _ := filepath.Glob(g.path("/usr/*/*"))
	if want := []string{g.path("/usr"), g.path("/usr/lib/modules")}; !slices.Equal(append(left, below...), want) {
		t.Errorf("left are %v and %v, want %v", left, below, want)
	}
	if got := read(t, g, "/usr/lib/modules/6/m.ko"); got != "m" {
		t.Errorf("the module holds %q", got)
	}
	if _, err := os.Stat(outside); err != nil {
		t.Error("the link was followed")
	}
}
