package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/arcinit/arcinit/internal/process"
	"github.com/arcinit/arcinit/pkg/arcsetup"
)

// environment is what services run with: this, and what the kernel was told to
// pass on.
func environment() []string {
	env := []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/bbin:/arcbox/bin:" + filepath.Dir(arcsetup.ProgramPath),
		"HOME=/root",
		"TERM=linux",
	}
	for _, v := range os.Environ() {
		switch name, _, _ := strings.Cut(v, "="); name {
		case "PATH", "HOME", "TERM":
		default:
			env = append(env, v)
		}
	}
	return env
}

func service(name, path string, args ...string) process.Service {
	return process.Service{Name: name, Restart: process.Always, Command: process.Command{
		Path: path, Args: append([]string{path}, args...), Env: environment(), Dir: "/",
	}}
}

func (c *caretaker) startAgent() (bool, error) {
	started, err := c.services.Start(service("agent", c.config.Load().Agent))
	if err != nil {
		return false, fmt.Errorf("the agent will be tried again: %w", err)
	}
	return started, nil
}

func (c *caretaker) startServices() (changed bool, err error) {
	for _, configured := range c.config.Load().Services {
		s := service(configured.Name, configured.Argv[0], configured.Argv[1:]...)
		s.Restart = process.Restart(configured.Restart)
		started, e := c.services.Start(s)
		if e != nil {
			err = errors.Join(err, fmt.Errorf("service %s: %w", s.Name, e))
		}
		changed = changed || started
	}
	return changed, err
}

// startConsole keeps a shell on the console.
func (c *caretaker) startConsole() (bool, error) {
	s := service("console", "/bin/sh")
	s.Terminal = "/dev/console"
	started, err := c.services.Start(s)
	if err != nil {
		return false, fmt.Errorf("debug console: this root has no shell: %w", err)
	}
	return started, nil
}
