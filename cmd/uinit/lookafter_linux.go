package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/arcinit/arcinit/pkg/arcsetup"
	"github.com/arcinit/arcinit/pkg/arcsetup/config"
	"github.com/arcinit/arcinit/pkg/arcsetup/guarded"
	"github.com/arcinit/arcinit/pkg/arcsetup/pid1"
	"github.com/arcinit/arcinit/pkg/arcsetup/plan"
	"github.com/arcinit/arcinit/pkg/arcsetup/wholefile"
	"golang.org/x/sys/unix"
)

// caretaker is the process that sets the guest up and looks after it.
type caretaker struct {
	role     string
	start    time.Duration
	log      *logging
	runner   *plan.Runner
	services *pid1.Services
	guest    *arcsetup.Guest

	// What one goroutine finds out and others go by: the configuration, so
	// far, and when the agent had been started, since boot, zero until then.
	config atomic.Pointer[config.Config]
	ready  atomic.Int64

	saving sync.Mutex // one report is written at a time
}

// lookAfter is the role of PID 1, and of a uinit under another init. Where the
// system is looked after already it runs the plan once more, prints what came of
// it, and ends; otherwise it stays for as long as the system runs.
func lookAfter(role, program string, out io.Writer) error {
	c := &caretaker{role: role, start: uptime(), log: newLogging("arcinit")}
	c.configure(config.Default())
	// Before anything else: a signal that Go does not know to be wanted ends
	// the process.
	ended, requests := notify()
	c.runner = &plan.Runner{Uptime: uptime, Log: c.log.Logger}
	c.services = &pid1.Services{
		Children: &pid1.Children{}, Log: c.log.Logger,
		Uptime: uptime, After: time.After, Changed: c.reportChanged,
	}
	c.guest = &arcsetup.Guest{
		Root: "/", OwnRoot: role == "init", Program: program, Environ: os.Environ(), After: time.After,
		Configured:   c.configure,
		OpenLog:      func(path string) (bool, error) { return true, c.log.file.Start(c.log.Logger, path, true) },
		StartNetwork: func() (bool, error) { return true, c.services.Start(c.networkDaemon()) },
		SaveReport:   func() (bool, error) { return true, c.saveReport() },
		StartAgent:   c.startAgent,
	}
	owner, err := pid1.Claim(c.log.Logger)
	if err != nil {
		c.log.Error("start", "err", err)
	}
	if err == nil && !owner {
		return c.runAgain(out)
	}
	if role != "init" {
		// Orphans of the services come to this process, as to PID 1.
		if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
			c.log.Warn("become the reaper of orphans", "err", err)
		}
	}
	guarded.Go(c.log.Logger, "boot", c.boot)
	for {
		err := guarded.Call(func() error { c.serve(ended, requests); return nil })
		c.log.Error("signals are taken again", "err", err)
	}
}

// configure takes over what the whole program heeds.
func (c *caretaker) configure(cfg config.Config) {
	c.log.level.Set(cfg.Log)
	c.config.Store(&cfg)
}

// boot runs the plan and says what came of it.
func (c *caretaker) boot() {
	c.runner.Run(arcsetup.Plan(c.guest))
	c.ready.Store(int64(uptime()))
	if err := c.saveReport(); err != nil {
		c.log.Error("boot report", "err", err)
	}
	r := c.report()
	c.log.Log(context.Background(), pid1.LevelNotice, "guest is up",
		"after", (r.Ready - r.Start).Round(10*time.Microsecond), "outcome", r.Count())
	if c.config.Load().DebugConsole {
		c.openConsole()
	}
}

// runAgain checks a guest that another process looks after: what holds is left
// alone, what does not is put right, and daemons are not started twice.
func (c *caretaker) runAgain(out io.Writer) error {
	leave := func() (bool, error) { return false, nil }
	c.guest.OpenLog = func(path string) (bool, error) {
		return false, c.log.file.Start(c.log.Logger, path, false)
	}
	c.guest.StartNetwork, c.guest.SaveReport, c.guest.StartAgent = leave, leave, leave
	// The score is for the process that stays, which this one is not.
	c.runner.Run(plan.Without(arcsetup.Plan(c.guest), "oom"))
	c.log.file.Flush()
	r := c.report()
	err := r.WriteTable(out)
	for _, s := range r.Steps {
		if s.Outcome == plan.Failed {
			return errors.Join(err, errors.New("not all of the set-up holds"))
		}
	}
	return err
}

// environment is what services run with: this, and what the kernel was told to
// pass on.
func environment() []string {
	env := []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/bbin:/arcbox/bin",
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

func service(name, path string, args ...string) pid1.Service {
	return pid1.Service{Name: name, Command: pid1.Command{
		Path: path, Args: append([]string{path}, args...),
		Env: environment(), Dir: "/", Output: "/dev/console",
	}}
}

// networkDaemon is this same program in its other role for life.
func (c *caretaker) networkDaemon() pid1.Service {
	cfg := c.config.Load()
	s := service("netd", "/proc/self/exe", "netd",
		"-primary", cfg.Primary, "-bridge", cfg.Bridge, "-log", cfg.Log.String())
	s.Args[0] = "uinit"
	if c.guest.HasShare() {
		s.Args = append(s.Args, "-logfile", arcsetup.LogPath)
	}
	return s
}

func (c *caretaker) startAgent() (bool, error) {
	if err := c.services.Start(service("agent", c.config.Load().Agent)); err != nil {
		return false, fmt.Errorf("the agent will be tried again: %w", err)
	}
	return true, nil
}

// openConsole shows the boot on the console and keeps a shell there.
func (c *caretaker) openConsole() {
	if console, err := os.OpenFile("/dev/console", os.O_WRONLY|unix.O_NOCTTY, 0); err == nil {
		_ = c.report().WriteTable(console)
		_ = console.Close()
	}
	s := service("console", "/bin/sh")
	s.Terminal = true
	if err := c.services.Start(s); err != nil {
		c.log.Error("debug console: this image has no shell", "err", err)
	}
}

func (c *caretaker) report() arcsetup.Report {
	return arcsetup.Report{
		Version: version(), Kernel: kernelRelease(), Role: c.role,
		Start: c.start, Ready: time.Duration(c.ready.Load()),
		Steps: c.runner.Results(), Services: c.services.Status(),
	}
}

// saveReport writes the report into the guest and onto the share.
func (c *caretaker) saveReport() error {
	c.saving.Lock()
	defer c.saving.Unlock()
	data, err := json.MarshalIndent(c.report(), "", "  ")
	if err != nil {
		return fmt.Errorf("boot report: %w", err)
	}
	data = append(data, '\n')
	err = wholefile.Write(arcsetup.ReportPath, data, 0o644)
	if c.guest.HasShare() {
		err = errors.Join(err, wholefile.Write(arcsetup.HostReportPath, data, 0o644))
	}
	return err
}

// reportChanged keeps the report up to date once the boot has written it.
func (c *caretaker) reportChanged() {
	if c.ready.Load() == 0 {
		return
	}
	if err := c.saveReport(); err != nil {
		c.log.Error("boot report", "err", err)
	}
}

// notify takes every signal that could end this process, and those that mean
// something to an init. Children that end have a channel of their own, one place
// of which stands for any number, so that they crowd out nothing else.
func notify() (ended, requests <-chan os.Signal) {
	e, r := make(chan os.Signal, 1), make(chan os.Signal, 16)
	signal.Notify(e, syscall.SIGCHLD)
	signal.Notify(r,
		syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGUSR1, syscall.SIGUSR2,
		syscall.SIGPWR, syscall.SIGPIPE, syscall.SIGALRM,
		syscall.Signal(34+3), syscall.Signal(34+4), syscall.Signal(34+5))
	return e, r
}

// serve reaps children and heeds requests to shut down. It does not return.
func (c *caretaker) serve(ended, requests <-chan os.Signal) {
	// Ctrl-alt-del comes as SIGINT instead of resetting the machine.
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_CAD_OFF); err != nil {
		c.log.Debug("take ctrl-alt-del as a signal", "err", err)
	}
	var down sync.Once
	for {
		select {
		case <-ended:
			c.services.Children.Reap()
		case sig := <-requests:
			action := pid1.ActionFor(sig)
			if action == 0 {
				c.log.Debug("signal ignored", "signal", sig)
				continue
			}
			// Children have to be reaped meanwhile.
			down.Do(func() {
				guarded.Go(c.log.Logger, "shutdown", func() { c.shutDown(action) })
			})
		}
	}
}

func (c *caretaker) shutDown(action pid1.Action) {
	if err := pid1.ShutDown(action, c.services, c.config.Load().Grace, c.log.file.Flush, c.log.Logger); err != nil {
		c.log.Error("the kernel did not end this system", "err", err)
	}
}
