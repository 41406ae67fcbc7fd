package uinit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/arcinit/arcinit/internal/built"
	"github.com/arcinit/arcinit/internal/guarded"
	"github.com/arcinit/arcinit/internal/kernelfile"
	"github.com/arcinit/arcinit/internal/logs"
	"github.com/arcinit/arcinit/internal/notify"
	"github.com/arcinit/arcinit/internal/process"
	"github.com/arcinit/arcinit/pkg/arcsetup"
	"github.com/arcinit/arcinit/pkg/arcsetup/config"
	"github.com/arcinit/arcinit/pkg/arcsetup/plan"
	"golang.org/x/sys/unix"
)

// initProcess is PID 1, or the uinit child of another init: it sets the guest up, starts the agent, and supervises it until power-off.
type initProcess struct {
	role      string // "init" as PID 1, else "uinit"
	guestPlan Plan
	start     time.Duration
	log       *logging
	runner    *plan.Runner
	services  *process.Supervisor
	shutdown  *process.Shutdown
	guest     *arcsetup.Guest
	signals   signals

	// config is the configuration as far as it has been read.
	config atomic.Pointer[config.Config]
	// planEnded and agentStarted are times since boot, zero until then.
	planEnded, agentStarted atomic.Int64
	// host is nil unless the configuration names an address to notify.
	host atomic.Pointer[notify.Notifier]

	// reportMu is held while a report is made and written, so that no older one replaces a newer one.
	reportMu      sync.Mutex
	reportClosed  bool          // the last report is written, or is being written
	reportChanged chan struct{} // has one in it while changes are not written

	watching sync.Map // names of the goroutines that watch started
}

// runInit claims the system and runs it for as long as it is up. Where another
// uinit already runs the system, runInit only repeats the set-up and returns.
func runInit(role string, out io.Writer, guestPlan Plan) error {
	// First of all: Go exits on a signal that the program has not subscribed to.
	signals := subscribe()
	log := newLogging("arcinit")
	owner, err := process.Claim(process.OwnerAddress, log.Logger, time.After)
	switch {
	case err != nil:
		log.Error("cannot claim the system", "err", err)
	case owner != os.Getpid():
		signal.Reset()
		return repeatSetup(owner, out, guestPlan)
	}
	p := newInitProcess(role, log, signals, guestPlan)
	if role != "init" {
		// Orphans of the services become children of this process, as they would of PID 1.
		if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
			log.Warn("cannot become the reaper of orphans", "err", err)
		}
	}
	guarded.RestartOnPanic(log.Logger, "boot", time.After, p.boot)
	for {
		err := guarded.Call("signals", func() error { p.serveSignals(); return nil })
		log.Error("signal handling panicked; restarting it", "err", err)
	}
}

func newInitProcess(role string, log *logging, signals signals, guestPlan Plan) *initProcess {
	p := &initProcess{role: role, guestPlan: guestPlan, start: uptime(), log: log, signals: signals, reportChanged: make(chan struct{}, 1)}
	p.runner = newRunner(log.Logger)
	p.runner.Late = p.changeReport
	p.services = &process.Supervisor{Reaper: process.NewReaper(log.Logger, time.After), Log: log.Logger,
		Uptime: uptime, After: time.After, Changed: p.servicesChanged, Failed: func(name string) {
			p.host.Load().Status("service " + name + " failed: started too often")
			p.host.Load().Failed(int(syscall.EIO))
		}}
	p.configure(config.Default())
	p.shutdown = &process.Shutdown{
		Services: p.services, Log: log.Logger, Flush: p.flush,
		Limit: func() time.Duration { return p.config.Load().Limit },
		WithoutPowerOff: func() process.Action {
			return map[string]process.Action{"halt": process.Halt, "reboot": process.Reboot}[p.config.Load().WithoutPowerOff]
		},
		Begun: func(a process.Action) {
			p.host.Load().Stopping("shutting down to " + a.String())
			p.flushNotifier()
		},
		Trim: func(left func() time.Duration) {
			if err := p.guest.TrimDisks(left); err != nil {
				log.Warn("cannot trim the disks", "err", err)
			}
		},
		Last: func() { log.console.Flush(500 * time.Millisecond) }, // a console may not take the last lines
	}
	p.guest = newGuest(os.Getpid())
	p.guest.OwnRoot = role == "init"
	p.guest.Run = func(argv ...string) (int, string, error) {
		return p.services.Reaper.Run(process.Command{Path: argv[0], Args: argv, Env: environment(), Dir: "/"})
	}
	p.guest.Configured = p.configure
	p.guest.Waiting = func(what string, taken time.Duration, there string) {
		log.Warn("still waiting", "for", what, "taken", taken, "there", there)
	}
	// What already runs does so on the initramfs, which is gone now.
	p.guest.RootChanged = func() { p.services.Again("console"); p.services.Again("netd") }
	return p
}

func newRunner(log *slog.Logger) *plan.Runner {
	after := func(d time.Duration, f func()) func() bool { return time.AfterFunc(d, f).Stop }
	begin, start := uptime(), time.Now() // a system call, where time.Since needs none
	return &plan.Runner{Uptime: func() time.Duration { return begin + time.Since(start) }, AfterFunc: after, Log: log}
}

// newGuest returns the guest that the process pid looks after.
func newGuest(pid int) *arcsetup.Guest {
	return &arcsetup.Guest{Root: "/", Program: fmt.Sprintf("/proc/%d/exe", pid), Environ: os.Environ(),
		BuildTime: built.Time(), After: time.After}
}

// configure applies process-wide settings: the log level and host notifications.
func (p *initProcess) configure(c config.Config) {
	p.config.Store(&c)
	p.log.level.Set(c.Log)
	// By default the kernel drops all but ten of a program's lines in five seconds (Documentation/admin-guide/sysctl/kernel.rst,
	// printk_devkmsg). The write fails while /proc is not mounted, and if the kernel command line fixes the limit.
	_ = kernelfile.Write("/proc/sys/kernel/printk_devkmsg", "on\n")
	p.services.Again("netd") // which runs already if the configuration comes late
	if c.Notify != (notify.Address{}) && p.host.Load() == nil {
		p.host.Store(notify.New(c.Notify, time.After, p.log.Logger))
		p.host.Load().Status("setting up")
	}
}

// boot runs the plan, then reports the result.
func (p *initProcess) boot() {
	p.runner.Run(p.plan(runtime.NumCPU()))
	p.planEnded.Store(int64(uptime()))
	debug.SetGCPercent(25) // from now on memory matters more than time: at 1 MiB, not at 4, Go collects garbage
	p.changeReport()
	_, _ = p.watch("report writer", p.keepReport)
	r := p.currentReport()
	p.notifyBooted(r)
	_ = p.requireSteps()
	p.log.Log(context.Background(), logs.LevelNotice, "guest is up",
		"after", (r.PlanEnded - r.Start).Round(10*time.Microsecond), "outcome", r.Count())
	if p.config.Load().DebugConsole {
		var table strings.Builder
		_ = r.WriteTable(&table) // a Builder takes everything
		p.log.console.Put(table.String() + "\nA root shell is on this console: press enter.\n")
	}
	// Go keeps these threads for later. It ends a program that the kernel refuses a thread, as in a guest with too many
	// processes, and the kernel panics when PID 1 ends.
	var spare sync.WaitGroup
	spare.Add(16)
	for range 16 {
		guarded.Go(p.log.Logger, "spare thread", func() {
			runtime.LockOSThread()
			spare.Done()
			spare.Wait() // for all, so that each has a thread of its own
			runtime.UnlockOSThread()
		})
	}
}

// repeatSetup runs the guest's steps again in a system that another process runs: what still holds is
// left alone, the rest is put right. That process has the network daemon do the same.
func repeatSetup(owner int, out io.Writer, guestPlan Plan) error {
	runner := newRunner(slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})))
	r := arcsetup.Report{Version: built.Version(), Kernel: kernelRelease(), Role: "repeat", Start: uptime()}
	guest := newGuest(owner)
	steps, later := guestPlan(guest)
	runner.Run(append(steps, later...))
	if err := signalOwner(repeatSignal); err != nil {
		return err
	}
	r.Steps = runner.Results()
	err := r.WriteTable(out)
	for _, s := range r.Steps {
		if s.Outcome == plan.Failed {
			return errors.Join(err, fmt.Errorf("step %s failed", s.Step))
		}
	}
	return err
}

// watch runs f on a goroutine for as long as the system is up, however often a step asks for it. changed is false if f already runs.
func (p *initProcess) watch(name string, f func()) (changed bool, err error) {
	if _, running := p.watching.LoadOrStore(name, true); running {
		return false, nil
	}
	guarded.RestartOnPanic(p.log.Logger, name, time.After, f)
	return true, nil
}
