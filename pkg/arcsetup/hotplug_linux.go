package arcsetup

import (
	"context"
	"errors"

	"github.com/arcinit/arcinit/internal/uevent"
	"github.com/arcinit/arcinit/pkg/arcsetup/plan"
)

// hotplug starts to load the drivers of all other devices, also of those that
// appear later.
func (g *Guest) hotplug() (changed bool, err error) {
	if g.loader == nil {
		return false, plan.Absent(errors.New("no modules for this kernel"))
	}
	return g.WatchDevices()
}

// LoadDrivers loads the drivers of the devices that are there, and of those that
// appear, until ctx ends. WatchDevices calls it. It calls report with each error as
// it happens, and continues.
func (g *Guest) LoadDrivers(ctx context.Context, report func(error)) {
	note := func(_ bool, err error) {
		if err != nil {
			report(err)
		}
	}
	err := uevent.Watch(ctx,
		func() {
			// Input devices are on no bus.
			note(g.loadDrivers("/sys/bus/*/devices/*/modalias"))
			note(g.loadDrivers("/sys/class/input/input*/modalias"))
		},
		func(e uevent.Event) {
			if e.Action == "add" && e.ModAlias != "" {
				note(g.loadDriver(e.ModAlias))
			}
		})
	note(false, err)
}
