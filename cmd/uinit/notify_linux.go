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

// startNotifier has the host told from now on, if it asks for that.
func (c *caretaker) startNotifier(cfg config.Config) {
	if cfg.Notify == (notify.Address{}) || c.host.Load() != nil {
		return
	}
	n := notify.Start(context.Background(), cfg.Notify, time.After, c.log.Logger)
	c.host.Store(n)
	n.Status("setting up")
}

// tellReady notes when the agent was first started, and tells the host.
func (c *caretaker) tellReady() {
	for _, s := range c.services.Status() {
		if s.Name == "agent" && s.Starts > 0 {
			if c.agentStarted.CompareAndSwap(0, int64(s.Since)) {
				c.host.Load().Ready()
			}
		}
	}
}

// tellBoot tells the host what came of the boot.
func (c *caretaker) tellBoot(r arcsetup.Report) {
	c.host.Load().Status("guest is up: " + r.Count())
	for _, s := range r.Steps {
		if s.Outcome == plan.Failed {
			c.host.Load().Failed(int(errno(s.Err)))
			return
		}
	}
}

// errno is the error number in err; what has none counts as EIO.
func errno(err error) syscall.Errno {
	if e := syscall.Errno(0); errors.As(err, &e) {
		return e
	}
	return syscall.EIO
}

// lastWords is how long the host may take to hear that the guest is going to end,
// and the last of it: a shutdown is not held up by a host that is gone.
const lastWords = time.Second

// tellStopping tells the host that the guest is going to end, before it does
// anything to that end.
func (c *caretaker) tellStopping(a process.Action) {
	c.host.Load().Stopping("shutting down to " + a.String())
	c.flushNotifier()
}

func (c *caretaker) flushNotifier() {
	ctx, cancel := context.WithTimeout(context.Background(), lastWords)
	defer cancel()
	if err := c.host.Load().Flush(ctx); err != nil {
		c.log.Warn("shutdown", "err", err)
	}
}

// flush returns when the host has all that was reported, told and logged so far,
// or does not take it.
func (c *caretaker) flush() {
	if err := c.saveReport(); err != nil {
		c.log.Error("boot report", "err", err)
	}
	c.saving.Lock()
	c.saved = true
	c.saving.Unlock()
	c.flushNotifier()
	c.log.flush()
}
