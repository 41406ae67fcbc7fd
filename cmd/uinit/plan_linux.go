package main

import (
	"context"
	"errors"

	"github.com/arcinit/arcinit/internal/process"
	"github.com/arcinit/arcinit/pkg/arcsetup"
	"github.com/arcinit/arcinit/pkg/arcsetup/plan"
)

// plan is the whole boot: the guest's steps (arcsetup.Plan) and this program's own among them.
func (p *initProcess) plan() []plan.Step {
	steps := arcsetup.Plan(p.guest)

	// The shell is there before the root is, to find out why the root does not come up.
	steps = plan.Insert(steps, "switchroot", plan.Step{Name: "console", Run: p.startConsole, Needs: []string{"nofile"},
		Doc: "optional: a root shell on the console (arcbox.debug_console)"})
	steps = plan.AddNeed(steps, "switchroot", "console")
	steps = plan.Insert(steps, "switchroot", plan.Step{Name: "powerbutton", Run: p.watchPowerButton, Needs: []string{"modules"},
		Doc: "the power button powers the guest off"})

	steps = plan.Insert(steps, "devlinks", []plan.Step{
		// After 6 s a step that hangs has failed, and what follows it has run. So the daemon begins as usual after most.
		{Name: "network", Run: p.startNetwork, Needs: []string{"forward", "hostname", "netfilter", "rcu"}, Patience: plan.DefaultLimit * 6 / 5,
			Doc: "the network daemon runs; it owns NICs, leases, routes and the firewall's rules"},
		{Name: "log", Run: p.startLogFiles, Needs: []string{"share"}, On: "the share arcbox",
			Doc: "the log is also written to the share"},
		{Name: "oom", Run: p.services.Reaper.Protect, Needs: []string{"switchroot"},
			Doc: "the OOM killer spares PID 1, but not its children"},
		// Only other processes send signals, and the agent is the first that may.
		{Name: "signals", Run: catchAllSignals, Needs: []string{"network"},
			Doc: "no signal ends PID 1"},
	}...)

	steps = append(steps, plan.Step{Name: "report", Run: p.saveReport, Needs: plan.Names(steps),
		Doc: "the report is in " + arcsetup.ReportPath + ", and soon on the share"})
	return append(steps,
		plan.Step{Name: "agent", Run: p.startAgent, Needs: []string{"report"}, On: "the share with the agent's program",
			Doc: "the agent runs and is restarted when it ends"},
		keepID(p.guest, "agent"),
		plan.Step{Name: "services", Run: p.startServices, Needs: []string{"agent"}, On: "the file system of a service's program",
			Doc: "optional: the services of arcinit.toml run"},
		// Loading drivers takes processor time, which the agent gets first.
		plan.Step{Name: "hotplug", Run: p.watchDevices, Needs: []string{"agent"},
			Doc: "drivers of all other devices are loaded, also of devices that appear later"})
}

// bootPlan is the plan that `uinit plan` prints.
func bootPlan() []plan.Step {
	p := &initProcess{guest: &arcsetup.Guest{Root: "/"}, services: &process.Supervisor{Reaper: &process.Reaper{}}}
	return p.plan()
}

func (p *initProcess) saveReport() (bool, error) { return true, p.writeReport(false) }

// keepID is the step that writes a new machine id to the share, after the step need.
func keepID(g *arcsetup.Guest, need string) plan.Step {
	return plan.Step{Name: "keepid", Run: g.KeepMachineID, Needs: []string{need}, On: "the share arcbox",
		Doc: "the share keeps a new machine id"}
}

func (p *initProcess) startLogFiles() (bool, error) {
	if !p.guest.HasShare() {
		return false, plan.Absent(errors.New("the share is not mounted"))
	}
	return true, errors.Join(p.log.file.Open(arcsetup.LogPath), p.log.output.Open(arcsetup.OutputPath))
}

// watchPowerButton shuts down when the power button is pressed.
func (p *initProcess) watchPowerButton() (bool, error) {
	b := &process.PowerButton{Root: "/", Log: p.log.Logger, Pressed: func() { p.shutdown.Request(process.PowerOff) }}
	return p.watch("power button", func() {
		if err := b.Watch(context.Background()); err != nil {
			p.log.Error("cannot watch the power button", "err", err)
		}
	})
}

// watchDevices loads the drivers of the devices that are there and of those that appear.
func (p *initProcess) watchDevices() (bool, error) {
	if !p.guest.HasModules() {
		return false, plan.Absent(errors.New("no modules for this kernel"))
	}
	return p.watch("device events", func() {
		p.guest.LoadDrivers(context.Background(), func(err error) { p.log.Warn("cannot load a driver", "err", err) })
	})
}
