package uinit

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/arcinit/arcinit/internal/process"
	"github.com/arcinit/arcinit/internal/wallclock"
	"github.com/arcinit/arcinit/pkg/arcsetup"
	"github.com/arcinit/arcinit/pkg/arcsetup/plan"
)

// plan is the whole boot: first what the agent needs, then what can follow, with the guest's steps. With
// one processor the network daemon comes after the agent.
func (p *initProcess) plan(processors int) []plan.Step {
	steps, later := p.guestPlan(p.guest)

	// The shell is there before the root is, to find out why the root does not come up.
	steps = plan.Insert(steps, "switchroot", plan.Step{Name: "console", Run: p.startConsole, Needs: []string{"nofile"},
		Doc: "optional: a root shell on the console (arcbox.debug_console)"})
	steps = plan.AddNeed(steps, "switchroot", "console")
	names := plan.Names(steps)
	steps = append(steps, plan.Step{Name: "agent", Run: p.startAgent, Needs: names, On: "the share with the agent's program",
		Doc: "the agent runs and is restarted when it ends"})

	// After 6 s a step that hangs has failed, and what follows it has run. After most, what has patience begins as usual.
	const patience = plan.DefaultLimit * 6 / 5
	later = append(append([]plan.Step{
		{Name: "oom", Run: p.services.Reaper.Protect, Doc: "the OOM killer spares PID 1, but not its children"},
		{Name: "services", Run: p.startServices, On: "the file system of a service's program", Doc: "optional: the services of arcinit.toml run"},
		// A root may be awaited for long, and the button is heard meanwhile.
		{Name: "powerbutton", Run: p.watchPowerButton, Patience: patience, Doc: "the power button powers the guest off"},
		{Name: "wake", Run: p.followClock, Doc: "optional: the clock is right soon after the host has slept"},
		{Name: "log", Run: p.startLogFiles, On: "the share arcbox", Doc: "the log is also written to the share"},
	}, later...), plan.Step{Name: "hotplug", Run: p.watchDevices,
		Doc: "drivers of all other devices are loaded, also of devices that appear later, and the kernel parameters that come with them are set"})
	for i := range later {
		later[i].Needs = append(later[i].Needs, "agent")
	}

	network := plan.Step{Name: "network", Run: p.startNetwork, Patience: patience,
		Doc: "the network daemon runs; it owns NICs, leases, routes and the firewall's rules"}
	for _, name := range []string{"forward", "hostname", "netfilter", "rcu"} {
		if slices.Contains(names, name) { // another program's plan may lack the step
			network.Needs = append(network.Needs, name)
		}
	}
	if processors > 1 {
		return plan.Insert(append(steps, later...), "devlinks", network)
	}
	network.Needs = append(network.Needs, "agent") // the daemon would keep the only processor from it
	return append(append(steps, network), later...)
}

// bootPlan is the plan that `uinit plan` prints.
func bootPlan(guestPlan Plan, processors int) []plan.Step {
	p := &initProcess{guestPlan: guestPlan, guest: &arcsetup.Guest{Root: "/"}, services: &process.Supervisor{Reaper: &process.Reaper{}}}
	return p.plan(processors)
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

// followClock keeps the wall clock at the time of the machine's own clock.
func (p *initProcess) followClock() (bool, error) {
	c := p.config.Load()
	source, err := wallclock.Find("/", c.ClockSource)
	if err != nil {
		return false, plan.Absent(err)
	}
	f := &wallclock.Follower{Source: source, Step: c.ClockStep, Log: p.log.Logger, After: time.After, Now: time.Now, Set: wallclock.Set}
	return p.watch("wall clock", func() { f.Run(context.Background()) })
}

// watchDevices looks after the devices that are there and those that appear.
func (p *initProcess) watchDevices() (bool, error) {
	if !p.guest.HasModules() && len(p.guest.Config().Sysctls) == 0 {
		return false, plan.Absent(errors.New("no modules for this kernel, and no kernel parameters configured"))
	}
	return p.watch("device events", func() {
		p.guest.WatchDevices(context.Background(), func(err error) { p.log.Warn("cannot set up a device", "err", err) })
	})
}
