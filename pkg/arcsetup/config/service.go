package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Service is a program that runs beside the agent for as long as the system
// does.
type Service struct {
	Name string
	Argv []string // Argv[0] is an absolute path
	// Restart is when it is started again: always, on-failure or never.
	Restart string
	// After are the services that are started before it.
	After []string
}

// ownServices are what arcinit itself starts, before the services here.
var ownServices = []string{"netd", "agent", "console"}

var restarts = []string{"always", "on-failure", "never"}

// check reports why s cannot be a service.
func (s Service) check() error {
	if s.Name == "" || strings.Trim(s.Name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.@") != "" || len(s.Name) > 64 {
		return fmt.Errorf("name %q: not 1 to 64 letters, digits, or any of -_.@", s.Name)
	}
	if slices.Contains(ownServices, s.Name) {
		return fmt.Errorf("name %q: arcinit's own", s.Name)
	}
	if len(s.Argv) == 0 {
		return errors.New("argv: missing")
	}
	if err := checkPath(s.Argv[0]); err != nil {
		return fmt.Errorf("argv: %w", err)
	}
	if !slices.Contains(restarts, s.Restart) {
		return fmt.Errorf("restart %q: not always, on-failure or never", s.Restart)
	}
	return nil
}

// setServices takes over the services that can be run, each after those that it
// names, otherwise in the order of the file. The errors name those that cannot.
func (c *Config) setServices(services []Service) (errs []error) {
	refuse := func(i int, err error) {
		errs = append(errs, fmt.Errorf("%d (%s): %w", i+1, services[i].Name, err))
	}
	known := slices.Clone(ownServices)
	var waiting []int
	for i := range services {
		s := &services[i]
		if s.Restart == "" {
			s.Restart = "always"
		}
		if err := s.check(); err != nil {
			refuse(i, err)
		} else if slices.Contains(known, s.Name) {
			refuse(i, errors.New("this name is there already"))
		} else {
			known = append(known, s.Name)
			waiting = append(waiting, i)
		}
	}
	placed := slices.Clone(ownServices)
	for len(waiting) > 0 {
		next := slices.IndexFunc(waiting, func(i int) bool {
			return !slices.ContainsFunc(services[i].After, func(name string) bool {
				return slices.Contains(known, name) && !slices.Contains(placed, name)
			})
		})
		if next < 0 {
			for _, i := range waiting {
				refuse(i, fmt.Errorf("after %q: in a circle", services[i].After))
			}
			break
		}
		i := waiting[next]
		waiting = slices.Delete(waiting, next, next+1)
		for _, name := range services[i].After {
			if !slices.Contains(known, name) {
				errs = append(errs, fmt.Errorf("%d (%s): after %q: there is no such service", i+1, services[i].Name, name))
			}
		}
		placed = append(placed, services[i].Name)
		c.Services = append(c.Services, services[i])
	}
	return errs
}
