package main

import (
	"context"
	"time"

	"github.com/arcinit/arcinit/internal/guarded"
	"github.com/arcinit/arcinit/internal/process"
)

// watchPowerButton asks for a shutdown when the power button is pressed.
func (c *caretaker) watchPowerButton() (bool, error) {
	b := &process.PowerButton{Root: "/", Log: c.log.Logger, Pressed: func() { c.shutdown.Request(process.PowerOff) }}
	return c.watch("power button", func() {
		if err := b.Watch(context.Background()); err != nil {
			c.log.Error("power button", "err", err)
		}
	})
}

// watchDevices loads the drivers of devices that appear.
func (c *caretaker) watchDevices() (bool, error) {
	return c.watch("device events", func() {
		c.guest.LoadDrivers(context.Background(), func(err error) { c.log.Warn("device events", "err", err) })
	})
}

// watch has f run for as long as the system does, once, however often the boot
// asks for it.
func (c *caretaker) watch(name string, f func()) (changed bool, err error) {
	if _, there := c.watching.LoadOrStore(name, true); there {
		return false, nil
	}
	guarded.RestartOnPanic(c.log.Logger, name, time.After, f)
	return true, nil
}
