package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Service is a program that runs beside the agent until shutdown.
type Service struct {
	Name string
	Argv []string // Argv[0] is an absolute path
	// Restart is when to start the program again: always, on-failure or never.
	Restart string
	// After are the services to start before this one.
	After []string
}

// ownServices are the services that arcinit starts before the configured ones.
func ownServices() []string { return []string{"netd", "agent", "console"} }

// check reports why s cannot be a service.
func (s Service) check() error {
	if s.Name == "" || len(s.Name) > 64 || strings.Trim(s.Name, letters+digits+"-_.@") != "" {
		return fmt.Errorf("name %q is not 1 to 64 letters, digits, or any of -_.@", s.Name)
	}
	if slices.Contains(ownServices(), s.Name) {
		return fmt.Errorf("arcinit has a service %q of its own", s.Name)
	}
	if len(s.Argv) == 0 {
		return errors.New("argv is missing")
	}
	if err := checkPath(s.Argv[0]); err != nil {
		return fmt.Errorf("argv: %w", err)
	}
	if err := checkWord(s.Restart, "always", "on-failure", "never"); err != nil {
		return fmt.Errorf("restart %w", err)
	}
	return nil
}

// setServices adds the valid services: each behind the services that it names in
// After, otherwise in the order of the file. A name in After that is no service
// is ignored.
func (c *Config) setServices(services []Service, refused *refusals) {
	refuse := func(i int, err error) { refused.ignore(entry("service", i, services[i].Name), err) }
	known := ownServices()
	var waiting []int // indexes of the services that have no place yet
	for i := range services {
		s := &services[i]
		if s.Restart == "" {
			s.Restart = "always"
		}
		err := s.check()
		if err == nil && slices.Contains(known, s.Name) {
			err = errors.New("another service has this name")
		}
		if err != nil {
			refuse(i, err)
			continue
		}
		known = append(known, s.Name)
		waiting = append(waiting, i)
	}
	placed := ownServices()
	isPending := func(name string) bool { return slices.Contains(known, name) && !slices.Contains(placed, name) }
	for len(waiting) > 0 {
		at := slices.IndexFunc(waiting, func(i int) bool { return !slices.ContainsFunc(services[i].After, isPending) })
		if at < 0 {
			for _, i := range waiting {
				refuse(i, fmt.Errorf("after %q: these services wait for each other", services[i].After))
			}
			return
		}
		i := waiting[at]
		waiting = slices.Delete(waiting, at, at+1)
		for _, name := range services[i].After {
			if !slices.Contains(known, name) {
				refused.add(entry("service", i, services[i].Name), fmt.Errorf("ignored %q in after: there is no such service", name))
			}
		}
		placed = append(placed, services[i].Name)
		c.Services = append(c.Services, services[i])
	}
}
