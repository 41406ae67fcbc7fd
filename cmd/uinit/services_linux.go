package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/arcinit/arcinit/internal/logs"
	"github.com/arcinit/arcinit/internal/process"
	"github.com/arcinit/arcinit/pkg/arcsetup"
	"github.com/arcinit/arcinit/pkg/arcsetup/config"
	"github.com/arcinit/arcinit/pkg/arcsetup/plan"
	"golang.org/x/sys/unix"
)

// environment is the environment of services: the parameters that the kernel passed on, and the variables below.
func environment() []string {
	env := slices.DeleteFunc(os.Environ(), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return name == "PATH" || name == "HOME" || name == "TERM"
	})
	return append(env, "HOME=/root", "TERM=linux",
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/bbin:/arcbox/bin:"+filepath.Dir(arcsetup.ProgramPath))
}

func (p *initProcess) service(name, path string, args ...string) process.Service {
	sinks := []logs.Sink{&logs.Bounded{Sink: p.log.kernel}, p.log.output}
	return process.Service{Name: name, Restart: process.Always, Sinks: sinks, Command: process.Command{
		Path: path, Args: append([]string{path}, args...), Env: environment(), Dir: "/",
	}}
}

func (p *initProcess) startAgent() (bool, error) {
	defer unix.Syscall(unix.SYS_SCHED_YIELD, 0, 0, 0) //nolint:errcheck // the agent goes first from now on
	return p.startConfigured(p.config.Load().Agent)
}

func (p *initProcess) startServices() (changed bool, err error) {
	cfg := p.config.Load()
	if len(cfg.Services) == 0 {
		return false, plan.Absent(errors.New("none configured"))
	}
	for _, c := range cfg.Services {
		started, e := p.startConfigured(c)
		changed, err = changed || started, errors.Join(err, e)
	}
	return changed, err
}

func (p *initProcess) startConfigured(c config.Service) (bool, error) {
	s := p.service(c.Name, c.Argv[0], c.Argv[1:]...)
	s.Restart, s.After, s.Grace, s.KillSession = process.Restart(c.Restart), c.After, c.Grace, c.Kill == "session"
	started, err := p.services.Start(s)
	if err != nil {
		return started, fmt.Errorf("start service %s (arcinit keeps trying): %w", c.Name, err)
	}
	return started, nil
}

// startConsole keeps a shell on the console. An initramfs without a shell is only
// worth a warning if the command line names a root, which may have one.
func (p *initProcess) startConsole() (bool, error) {
	if !p.config.Load().DebugConsole {
		return false, plan.Absent(errors.New("not configured"))
	}
	s := p.service("console", "/bin/sh")
	s.Terminal = "/dev/console"
	s.Grace = 2 * time.Second // a shell ends at once, or does not hear
	started, err := p.services.Start(s)
	if err != nil && p.guest.RootExpected() {
		err = plan.Fallback(err)
	}
	return started, err
}
