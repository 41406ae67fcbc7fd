package arcsetup

import (
	"context"

	"github.com/arcinit/arcinit/internal/uevent"
)

// LoadDrivers loads the drivers of the devices that are there, and of those that
// appear, until ctx ends. It reports each error as it happens.
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
