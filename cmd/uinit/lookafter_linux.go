package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"time"

	"github.com/arcinit/arcinit/internal/built"
	"github.com/arcinit/arcinit/internal/guarded"
	"github.com/arcinit/arcinit/internal/logs"
	"github.com/arcinit/arcinit/internal/notify"
	"github.com/arcinit/arcinit/internal/process"
	"github.com/arcinit/arcinit/internal/wholefile"
	"github.com/arcinit/arcinit/pkg/arcsetup"
	"github.com/arcinit/arcinit/pkg/arcsetup/config"
	"github.com/arcinit/arcinit/pkg/arcsetup/plan"
	"golang.org/x/sys/unix"
)

// caretaker is the process that sets the guest up and looks after it.
type caretaker struct {
	role     string
	start    time.Duration
	log      *logging
	runner   *plan.Runner
	services *process.Supervisor
	shutdown *process.Shutdown
	guest    *arcsetup.Guest

	// config is the configuration as far as it has been read.
	config atomic.Pointer[config.Config]
	// planEnded and agentStarted are times since boot, zero until then.
	planEnded, agentStarted atomic.Int64

	host atomic.Pointer[notify.Notifier] // nil where no host listens

	saving   sync.Mutex    // one report is written at a time
	saved    bool          // the last one; what it is written on is unmounted next
	changed  chan struct{} // has one in it when it is to be written again
	watching sync.Map      // by name, what goes on for as long as the system runs
}

// lookAfter is the role of PID 1, and of a uinit under another init. Where the
// system is looked after already it runs the plan once more, prints what came of
// it, and ends; otherwise it stays for as long as the system runs.
func lookAfter(role string, out io.Writer) error {
	// Before anything else: a signal that Go does not know to be wanted ends
	// the process.
	signals := takeSignals()
	c := &caretaker{role: role, start: uptime(), log: newLogging("arcinit"), changed: make(chan struct{}, 1)}
	c.configure(config.Default())
	c.runner = &plan.Runner{Uptime: uptime, Log: c.log.Logger}
	c.services = &process.Supervisor{
		Reaper: &process.Reaper{}, Log: c.log.Logger, Output: []logs.Sink{c.log.kernel, c.log.output},
		Uptime: uptime, After: time.After, Changed: c.servicesChanged,
	}
	c.shutdown = &process.Shutdown{
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
		OpenLog:    func() (bool, error) { return true, c.log.start() },
		SaveReport: func() (bool, error) { return true, c.writeReport(arcsetup.ReportPath) },

		Protect:          c.services.Reaper.Protect,
		TakeSignals:      func() (bool, error) { signals.takeOthers(); return true, nil },
		WatchPowerButton: c.watchPowerButton, WatchDevices: c.watchDevices,
		// What runs there is on the initramfs, which is no more.
		RootChanged:   func() { c.services.Again("console") },
		StartConsole:  c.startConsole,
		StartNetwork:  c.startNetwork,
		StartAgent:    c.startAgent,
		StartServices: c.startServices,
	}
	owner, err := process.Claim(c.log.Logger, time.After)
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
	guarded.RestartOnPanic(c.log.Logger, "report writer", time.After, c.keepReport)
	guarded.RestartOnPanic(c.log.Logger, "boot", time.After, c.boot)
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
	c.planEnded.Store(int64(uptime()))
	c.reportChanged()
	r := c.report()
	c.tellBoot(r)
	c.log.Log(context.Background(), logs.LevelNotice, "guest is up",
		"after", (r.PlanEnded - r.Start).Round(10*time.Microsecond), "outcome", r.Count())
	if c.config.Load().DebugConsole {
		c.showBoot(r)
	}
}

// runAgain checks a guest that another process looks after: what holds is left
// alone, what does not is put right, and daemons are not started twice.
func (c *caretaker) runAgain(out io.Writer) error {
	signal.Reset() // nothing is lost when this process ends
	leave := func() (bool, error) { return false, nil }
	owner, err := process.Owner()
	if err != nil {
		return err
	}
	c.guest.Program = program(owner)
	c.guest.StartConsole, c.guest.StartNetwork = leave, leave
	c.guest.OpenLog, c.guest.SaveReport, c.guest.StartAgent, c.guest.StartServices = leave, leave, leave, leave
	c.guest.TakeSignals, c.guest.WatchPowerButton, c.guest.WatchDevices = leave, leave, leave
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
		Version: built.Version(), Kernel: kernelRelease(), Role: c.role,
		Start: c.start, PlanEnded: time.Duration(c.planEnded.Load()), AgentStarted: time.Duration(c.agentStarted.Load()),
		Steps: c.runner.Results(), Services: c.services.Status(),
	}
}

// writeReport writes the report as it is, unless its last state has been written.
func (c *caretaker) writeReport(paths ...string) error {
	c.saving.Lock()
	defer c.saving.Unlock()
	if c.saved {
		return nil
	}
	data, err := json.Marshal(c.report())
	if err != nil {
		return fmt.Errorf("boot report: %w", err)
	}
	data = append(data, '\n')
	for _, path := range paths {
		err = errors.Join(err, wholefile.Write(path, data, 0o644))
	}
	return err
}

// saveReport writes the report into the guest and onto the share.
func (c *caretaker) saveReport() error {
	if c.guest.HasShare() {
		return c.writeReport(arcsetup.ReportPath, arcsetup.HostReportPath)
	}
	return c.writeReport(arcsetup.ReportPath)
}

// servicesChanged has the report written again, once the boot has written it,
// and the host told.
func (c *caretaker) servicesChanged() {
	c.tellReady()
	if c.planEnded.Load() != 0 {
		c.reportChanged()
	}
}

func (c *caretaker) reportChanged() {
	select {
	case c.changed <- struct{}{}:
	default: // it will be written
	}
}

// reportDelay is how long a change waits for others, to be written with them. The
// agent, which is starting, has the processor first.
const reportDelay = 100 * time.Millisecond

// keepReport writes the report, to the share too, when it has changed. Nothing
// else waits for that: the share may be slow, or its host gone.
func (c *caretaker) keepReport() {
	for range c.changed {
		<-time.After(reportDelay)
		if err := c.saveReport(); err != nil {
			c.log.Error("boot report", "err", err)
		}
	}
}
