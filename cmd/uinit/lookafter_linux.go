package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/arcinit/arcinit/pkg/arcsetup"
	"github.com/arcinit/arcinit/pkg/arcsetup/built"
	"github.com/arcinit/arcinit/pkg/arcsetup/config"
	"github.com/arcinit/arcinit/pkg/arcsetup/guarded"
	"github.com/arcinit/arcinit/pkg/arcsetup/notify"
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
	shutdown *pid1.Shutdown
	guest    *arcsetup.Guest

	// What one goroutine finds out and others go by: the configuration, so
	// far, and when the agent had been started, since boot, zero until then.
	config atomic.Pointer[config.Config]
	ready  atomic.Int64

	host    atomic.Pointer[notify.Notifier] // nil where no host listens
	isReady sync.Once                       // it has been told

	saving   sync.Mutex // one report is written at a time
	watching sync.Map   // by name, what goes on for as long as the system runs
}

// lookAfter is the role of PID 1, and of a uinit under another init. Where the
// system is looked after already it runs the plan once more, prints what came of
// it, and ends; otherwise it stays for as long as the system runs.
func lookAfter(role string, out io.Writer) error {
	c := &caretaker{role: role, start: uptime(), log: newLogging("arcinit")}
	c.configure(config.Default())
	// Before anything else: a signal that Go does not know to be wanted ends
	// the process.
	signals := takeSignals()
	c.runner = &plan.Runner{Uptime: uptime, Log: c.log.Logger}
	c.services = &pid1.Services{
		Children: &pid1.Children{}, Log: c.log.Logger, Output: []pid1.Sink{c.log.kernel, c.log.output},
		Uptime: uptime, After: time.After, Changed: c.reportChanged,
	}
	c.shutdown = &pid1.Shutdown{
		Services: c.services, Log: c.log.Logger, Flush: c.flush,
		Grace:           func() time.Duration { return c.config.Load().Grace },
		WithoutPowerOff: c.withoutPowerOff,
		Begun:           c.tellStopping,
	}
	c.guest = &arcsetup.Guest{
		Root: "/", OwnRoot: role == "init", Program: program(os.Getpid()), Environ: os.Environ(), After: time.After,
		BuildTime:  built.Time(),
		Waiting:    c.waiting,
		Configured: c.configure,
		OpenLog:    func() (bool, error) { return true, c.log.start(true) },
		SaveReport: func() (bool, error) { return true, c.saveReport() },

		WatchPowerButton: c.watchPowerButton, WatchDevices: c.watchDevices,
		// What runs there is on the initramfs, which is no more.
		RootChanged:   func() { c.services.Again("console") },
		StartConsole:  c.startConsole,
		StartNetwork:  func() (bool, error) { return c.services.Start(c.networkDaemon()) },
		StartAgent:    c.startAgent,
		StartServices: c.startServices,
	}
	owner, err := pid1.Claim(c.log.Logger, time.After)
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
	guarded.Keep(c.log.Logger, "boot", time.After, c.boot)
	for {
		err := guarded.Call("signals", func() error { c.serve(signals); return nil })
		c.log.Error("signals are taken again", "err", err)
	}
}

// configure takes over what the whole program heeds.
func (c *caretaker) configure(cfg config.Config) {
	c.log.level.Set(cfg.Log)
	c.config.Store(&cfg)
	c.startNotifier(cfg)
}

// program is the program of a process, wherever its file is, or was.
func program(pid int) string { return fmt.Sprintf("/proc/%d/exe", pid) }

// waiting says what the boot is held up by.
func (c *caretaker) waiting(what string, taken time.Duration, there string) {
	c.log.Warn("still waiting", "for", what, "taken", taken, "there", there)
}

// boot runs the plan and says what came of it.
func (c *caretaker) boot() {
	c.runner.Run(arcsetup.Plan(c.guest))
	c.ready.Store(int64(uptime()))
	if err := c.saveReport(); err != nil {
		c.log.Error("boot report", "err", err)
	}
	r := c.report()
	c.tellBoot(r)
	c.log.Log(context.Background(), pid1.LevelNotice, "guest is up",
		"after", (r.Ready - r.Start).Round(10*time.Microsecond), "outcome", r.Count())
	if c.config.Load().DebugConsole {
		c.showBoot(r)
	}
}

// runAgain checks a guest that another process looks after: what holds is left
// alone, what does not is put right, and daemons are not started twice.
func (c *caretaker) runAgain(out io.Writer) error {
	leave := func() (bool, error) { return false, nil }
	owner, err := pid1.Owner()
	if err != nil {
		return err
	}
	c.guest.Program = program(owner)
	c.guest.OpenLog = func() (bool, error) { return false, c.log.start(false) }
	c.guest.StartConsole, c.guest.StartNetwork, c.guest.SaveReport = leave, leave, leave
	c.guest.StartAgent, c.guest.StartServices = leave, leave
	c.guest.WatchPowerButton, c.guest.WatchDevices = leave, leave
	// The score is for the process that stays, which this one is not.
	c.runner.Run(plan.Without(arcsetup.Plan(c.guest), "oom"))
	c.log.flush()
	r := c.report()
	err = r.WriteTable(out)
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

func service(name, path string, args ...string) pid1.Service {
	return pid1.Service{Name: name, Restart: pid1.Always, Command: pid1.Command{
		Path: path, Args: append([]string{path}, args...), Env: environment(), Dir: "/",
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
	started, err := c.services.Start(service("agent", c.config.Load().Agent))
	if err != nil {
		return false, fmt.Errorf("the agent will be tried again: %w", err)
	}
	return started, nil
}

func (c *caretaker) startServices() (changed bool, err error) {
	for _, configured := range c.config.Load().Services {
		s := service(configured.Name, configured.Argv[0], configured.Argv[1:]...)
		s.Restart = pid1.Restart(configured.Restart)
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

// showBoot prints the boot on the console, where a shell has been for a while.
func (c *caretaker) showBoot(r arcsetup.Report) {
	console, err := os.OpenFile("/dev/console", os.O_WRONLY|unix.O_NOCTTY, 0)
	if err != nil {
		c.log.Warn("show the boot", "err", err)
		return
	}
	_ = r.WriteTable(console)
	_, _ = fmt.Fprintln(console, "\nA root shell is on this console: press enter.")
	_ = console.Close()
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

// reportChanged keeps the report up to date once the boot has written it, and
// the host.
func (c *caretaker) reportChanged() {
	c.tellReady()
	if c.ready.Load() == 0 {
		return
	}
	if err := c.saveReport(); err != nil {
		c.log.Error("boot report", "err", err)
	}
}

// withoutPowerOff is what takes the place of a power-off.
func (c *caretaker) withoutPowerOff() pid1.Action {
	if c.config.Load().WithoutPowerOff == "halt" {
		return pid1.Halt
	}
	return pid1.Reboot
}

// signals are those sent to this process. Each kind has a channel of its own, so
// that many of one crowd out none of another: one place stands for any number of
// ended children, or of what means nothing to an init.
type signals struct {
	ended, requests, others chan os.Signal
}

// takeSignals takes every signal that a process can. Even SIGSEGV, sent by
// another one, would end this one.
func takeSignals() signals {
	s := signals{make(chan os.Signal, 1), make(chan os.Signal, 16), make(chan os.Signal, 1)}
	for n := syscall.Signal(1); n <= lastSignal; n++ {
		switch {
		case n == syscall.SIGKILL, n == syscall.SIGSTOP, n == syscall.SIGURG:
			// The kernel's, and the Go scheduler's, which ignores it otherwise.
		case n == syscall.SIGCHLD:
			signal.Notify(s.ended, n)
		case pid1.ActionFor(n) != 0:
			signal.Notify(s.requests, n)
		default:
			signal.Notify(s.others, n)
		}
	}
	return s
}

// lastSignal is SIGRTMAX (signal(7)).
const lastSignal = 64

// serve reaps children and heeds requests to shut down. It does not return.
func (c *caretaker) serve(s signals) {
	// Ctrl-alt-del comes as SIGINT instead of resetting the machine.
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_CAD_OFF); err != nil {
		c.log.Debug("take ctrl-alt-del as a signal", "err", err)
	}
	for {
		select {
		case <-s.ended:
			c.services.Children.Reap()
		case sig := <-s.requests:
			c.shutdown.Request(pid1.ActionFor(sig))
		case sig := <-s.others:
			c.log.Debug("signal ignored", "signal", sig)
		}
	}
}
