package main

import (
	"context"
	"errors"
	"syscall"
	"time"

	"github.com/arcinit/arcinit/internal/notify"
	"github.com/arcinit/arcinit/internal/process"
	"github.com/arcinit/arcinit/pkg/arcsetup"
	"github.com/arcinit/arcinit/pkg/arcsetup/config"
	"github.com/arcinit/arcinit/pkg/arcsetup/plan"
)

// startNotifier starts notifying the host if the configuration names an address.
func (p *initProcess) startNotifier(c config.Config) {
	if c.Notify == (notify.Address{}) || p.host.Load() != nil {
		return
	}
	n := notify.New(c.Notify, time.After, p.log.Logger)
	p.host.Store(n)
	n.Status("setting up")
}

// servicesChanged runs after each start and end of a service.
func (p *initProcess) servicesChanged() {
	for _, s := range p.services.Status() {
		if s.Name == "agent" && s.Starts > 0 && p.agentStarted.CompareAndSwap(0, int64(s.Since)) {
			p.host.Load().Ready()
		}
	}
	if p.planEnded.Load() != 0 {
		p.report.change()
	}
}

// notifyBooted tells the host the outcome of the boot, with the error number of the
// first failed step.
func (p *initProcess) notifyBooted(r arcsetup.Report) {
	p.host.Load().Status("guest is up: " + r.Count())
	for _, s := range r.Steps {
		if s.Outcome == plan.Failed {
			p.host.Load().Failed(int(errno(s.Err)))
			return
		}
	}
}

// errno is the error number in err, EIO if there is none.
func errno(err error) syscall.Errno {
	if e := syscall.Errno(0); errors.As(err, &e) {
		return e
	}
	return syscall.EIO
}

// notifyLimit is how long a shutdown waits for a host that may be gone.
const notifyLimit = time.Second

// notifyStopping tells the host that a shutdown begins.
func (p *initProcess) notifyStopping(a process.Action) {
	p.host.Load().Stopping("shutting down to " + a.String())
	p.flushNotifier()
}

func (p *initProcess) flushNotifier() {
	ctx, cancel := context.WithTimeout(context.Background(), notifyLimit)
	defer cancel()
	if err := p.host.Load().Flush(ctx); err != nil {
		p.log.Warn("cannot notify the host of the shutdown", "err", err)
	}
}
