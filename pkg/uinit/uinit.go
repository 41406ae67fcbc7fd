// Package uinit is the first program of a container VM. As /init of an initramfs, /sbin/init of a disk, or the uinit of u-root's own init, it sets
// the guest up, starts the agent and supervises it. With a subcommand it reports on the boot, requests a shutdown, or plays one of its other roles.
//
// cmd/uinit is this program with the standard plan. A program of your own can have another plan; examples/custom does so.
package uinit

import (
	"github.com/arcinit/arcinit/pkg/arcsetup"
	"github.com/arcinit/arcinit/pkg/arcsetup/plan"
)

// Plan returns the guest's steps: what the agent needs, and what can follow (arcsetup.Plan, or what another program makes of that). The package adds
// its own: console, network and agent; oom, services, powerbutton, wake, log and hotplug.
type Plan func(*arcsetup.Guest) (steps, later []plan.Step)
