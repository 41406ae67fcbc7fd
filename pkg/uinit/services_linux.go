package uinit

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/arcinit/arcinit/internal/logs"
	"github.com/arcinit/arcinit/internal/process"
	"github.com/arcinit/arcinit/internal/regular"
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
	if err := p.requireSteps(); err != nil {
		return false, err
	}
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
	s.Burst, s.Interval = c.StartLimit.Burst, c.StartLimit.Interval
	s.Prepare = func(command *process.Command) error { return p.execution(command, c.Process) }
	started, err := p.services.Start(s)
	if err != nil {
		return started, fmt.Errorf("start service %s (arcinit keeps trying): %w", c.Name, err)
	}
	return started, nil
}

// requireSteps begins a shutdown if a step has failed without which the guest is of no use.
func (p *initProcess) requireSteps() (err error) {
	c := p.config.Load()
	for _, s := range p.runner.Results() {
		if s.Outcome == plan.Failed && slices.Contains(c.Require, s.Step) && p.shutdown.Action() == 0 {
			err = fmt.Errorf("required step failed: %s", s.Step)
		}
	}
	if err != nil {
		p.log.Error("a required step failed; shutting down", "to", c.Otherwise, "err", err)
		p.shutdown.Request(map[string]process.Action{"poweroff": process.PowerOff, "reboot": process.Reboot, "halt": process.Halt}[c.Otherwise])
	}
	return err
}

// execution completes a command with the environment, the user and the directory of the configuration.
func (p *initProcess) execution(command *process.Command, c config.Process) error {
	if c.User != "" || c.Group != "" {
		user, credential, err := process.FindAccount(c.User, c.Group)
		if err != nil {
			return err
		}
		command.Credential = credential
		command.Env = append(set(command.Env, "HOME", user.HomeDir), "USER="+user.Username, "LOGNAME="+user.Username)
	}
	command.Dir = cmp.Or(c.WorkingDirectory, command.Dir)
	if c.EnvFile != "" {
		text, err := regular.Read("/", c.EnvFile, 64<<10, nil)
		if err != nil {
			p.log.Warn("cannot read the env_file; starting the service without it", "err", err)
		}
		for line := range strings.Lines(config.Text(text)) {
			line = strings.TrimPrefix(strings.TrimSpace(line), "export ")
			if name, value, ok := strings.Cut(line, "="); ok && name != "" && !strings.HasPrefix(name, "#") {
				command.Env = set(command.Env, name, strings.Trim(value, `"'`))
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Env)) {
		command.Env = set(command.Env, name, c.Env[name])
	}
	return nil
}

// set returns the environment with a variable. The environment itself stays.
func set(env []string, name, value string) []string {
	env = slices.DeleteFunc(slices.Clone(env), func(v string) bool { return strings.HasPrefix(v, name+"=") })
	return append(env, name+"="+value)
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
