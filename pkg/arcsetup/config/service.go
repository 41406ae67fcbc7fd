package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Service is a program that runs beside the agent until shutdown.
type Service struct {
	Name    string
	Argv    []string // Argv[0] is an absolute path
	Restart string   // when to start the program again: always, on-failure or never
	After   []string // the services to start before this one, and to end after it
	Process
	where string // the file and the entry, for errors
}

// Process is what the agent and the services have in common. The keys have the names of systemd.exec(5) and systemd.unit(5).
type Process struct {
	Kill             string            // what ends when the program ends: process, or session for all that it has started, too
	Env              map[string]string // in addition to what every service has
	EnvFile          string            `toml:"env_file"` // has lines NAME=VALUE, which Env overrides
	User, Group      string            // names or numbers; if empty, root's
	WorkingDirectory string            `toml:"working_directory"`
	StartLimit       struct {
		Burst    int           // how often the program is started within Interval; zero for no limit
		Interval time.Duration `toml:"-"`
		Text     string        `toml:"interval"`
	} `toml:"start_limit"`
	// Grace is how long the program has to end, GraceText what the file says about that.
	Grace     time.Duration `toml:"-"`
	GraceText string        `toml:"grace"`
}

// check calls refuse with each wrong value, and sets that to the value of before.
func (p *Process) check(before Process, refuse func(key string, err error)) {
	p.Kill = cmp.Or(p.Kill, "process")
	if err := oneOf("process", "session")(p.Kill); err != nil {
		p.Kill = before.Kill
		refuse("kill", err)
	}
	if limit := &p.StartLimit; limit.Text != "" || limit.Burst > 0 {
		limit.Interval, limit.Burst = cmp.Or(limit.Interval, 10*time.Second), cmp.Or(limit.Burst, 5) // as in systemd-system.conf(5)
		if limit.Text != "" {
			refuse("start_limit.interval", parsed(&limit.Interval, parseDuration)(limit.Text))
		}
	}
	if p.GraceText != "" {
		if err := parsed(&p.Grace, parseDuration)(p.GraceText); err != nil {
			p.GraceText = before.GraceText
			refuse("grace", err)
		}
	}
}

// ownServices are arcinit and what it starts itself. Their lines in the log begin with these names, as a service's do with its own.
func ownServices() []string { return []string{"arcinit", "netd", "agent", "console"} }

// checkService completes a service, unless it is invalid.
func (c *Config) checkService(s *Service, refused *refusals) error {
	s.Restart, s.Grace, s.where = cmp.Or(s.Restart, "always"), c.Grace, refused.source+": "+refused.entry
	switch {
	case s.Name == "" || len(s.Name) > 64 || strings.Trim(s.Name, letters+digits+"-_.@") != "":
		return fmt.Errorf("name %q is not 1 to 64 letters, digits, or any of -_.@", s.Name)
	case slices.Contains(ownServices(), s.Name):
		return fmt.Errorf("one of arcinit's own services has the name %q", s.Name)
	case len(s.Argv) == 0:
		return errors.New("argv is missing")
	}
	if err := checkPath(s.Argv[0]); err != nil {
		return fmt.Errorf("argv: %w", err)
	}
	if err := oneOf("always", "on-failure", "never")(s.Restart); err != nil {
		return fmt.Errorf("restart %w", err)
	}
	s.check(Process{Kill: "process"}, func(key string, err error) { refused.add(refused.entry+": "+key, err) })
	return nil
}

// orderServices puts each service behind those that it names in After, otherwise in the order of the files.
func (c *Config) orderServices() error {
	var errs []error
	waiting := c.Services // those that have no place yet
	c.Services = nil
	known := ownServices()
	for _, s := range waiting {
		known = append(known, s.Name)
	}
	for i := range waiting {
		s := &waiting[i]
		if s.GraceText == "" {
			s.Grace = c.Grace
		}
		for _, name := range s.After {
			if !slices.Contains(known, name) {
				errs = append(errs, fmt.Errorf("%s: ignored %q in after: there is no such service", s.where, name))
			}
		}
	}
	canStart := func(s Service) bool {
		return !slices.ContainsFunc(waiting, func(other Service) bool { return slices.Contains(s.After, other.Name) })
	}
	for at := slices.IndexFunc(waiting, canStart); at >= 0; at = slices.IndexFunc(waiting, canStart) {
		s := waiting[at]
		waiting = slices.Delete(waiting, at, at+1)
		s.where = ""
		c.Services = append(c.Services, s)
	}
	for _, s := range waiting {
		errs = append(errs, fmt.Errorf("%s: after %q: these services wait for each other; ignored", s.where, s.After))
	}
	return errors.Join(errs...)
}
