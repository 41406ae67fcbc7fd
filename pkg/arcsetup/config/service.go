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
	Kill    string   // what ends when the program ends: process, or session for all that it has started, too
	// Grace is how long the program has to end, GraceText what the file says about that.
	Grace     time.Duration `toml:"-"`
	GraceText string        `toml:"grace"`
}

// check reports why s cannot be a service beside those that have a name in known.
func (s Service) check(known []string) error {
	if s.Name == "" || len(s.Name) > 64 || strings.Trim(s.Name, letters+digits+"-_.@") != "" {
		return fmt.Errorf("name %q is not 1 to 64 letters, digits, or any of -_.@", s.Name)
	}
	if slices.Contains(known, s.Name) {
		return fmt.Errorf("another service, or one of arcinit's own, has the name %q", s.Name)
	}
	if len(s.Argv) == 0 {
		return errors.New("argv is missing")
	}
	if err := checkPath(s.Argv[0]); err != nil {
		return fmt.Errorf("argv: %w", err)
	}
	if err := oneOf("always", "on-failure", "never")(s.Restart); err != nil {
		return fmt.Errorf("restart %w", err)
	}
	if err := oneOf("process", "session")(s.Kill); err != nil {
		return fmt.Errorf("kill %w", err)
	}
	return nil
}

// setServices adds the valid services: each behind the services that it names in
// After, otherwise in the order of the file.
func (c *Config) setServices(services []Service, refused *refusals) {
	key := func(i int) string { return entry("service", i, services[i].Name) }
	// Lines of a service begin with its name, as those of arcinit and of what arcinit starts itself do.
	known := []string{"arcinit", "netd", "agent", "console"}
	var waiting []int // indexes of the services that have no place yet
	for i := range services {
		s := &services[i]
		s.Restart, s.Kill = cmp.Or(s.Restart, "always"), cmp.Or(s.Kill, "process")
		if err := s.check(known); err != nil {
			refused.ignore(key(i), err)
			continue
		}
		s.Grace = c.Grace
		if s.GraceText != "" {
			refused.add(key(i)+": grace", parsed(&s.Grace, parseDuration)(s.GraceText))
		}
		known = append(known, s.Name)
		waiting = append(waiting, i)
	}
	for _, i := range waiting {
		for _, name := range services[i].After {
			if !slices.Contains(known, name) {
				refused.add(key(i), fmt.Errorf("ignored %q in after: there is no such service", name))
			}
		}
	}
	canStart := func(i int) bool {
		return !slices.ContainsFunc(waiting, func(other int) bool { return slices.Contains(services[i].After, services[other].Name) })
	}
	for at := slices.IndexFunc(waiting, canStart); at >= 0; at = slices.IndexFunc(waiting, canStart) {
		c.Services = append(c.Services, services[waiting[at]])
		waiting = slices.Delete(waiting, at, at+1)
	}
	for _, i := range waiting {
		refused.ignore(key(i), fmt.Errorf("after %q: these services wait for each other", services[i].After))
	}
}
