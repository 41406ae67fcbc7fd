package main

import (
	"fmt"
	"slices"
	"strings"
	"syscall"

	"github.com/arcinit/arcinit/internal/process"
	"github.com/arcinit/arcinit/pkg/arcsetup"
	"github.com/arcinit/arcinit/pkg/arcsetup/plan"
)

// bootPlan is the plan that `uinit plan` prints.
func bootPlan() []plan.Step {
	p := &initProcess{guest: &arcsetup.Guest{Root: "/"}, services: &process.Supervisor{Reaper: process.NewReaper()}}
	return p.plan()
}

// modprobe loads a module when the kernel asks for it, as `modprobe -q -- MODULE`,
// or iptables-legacy, as `modprobe MODULE -q`. The first argument is the script that
// they run.
func modprobe(args []string) error {
	args = slices.DeleteFunc(args, func(arg string) bool { return strings.HasPrefix(arg, "-") })
	if len(args) != 2 {
		return fmt.Errorf("modprobe: %q name no module", args)
	}
	return arcsetup.Modprobe(args[1])
}

// requestShutdown sends the process that runs this system the signal for a
// power-off or reboot.
func requestShutdown(command string) error {
	owner, err := process.Owner(process.OwnerAddress)
	if err != nil {
		return err
	}
	sig := syscall.SIGUSR2
	if command == "reboot" {
		sig = syscall.SIGTERM
	}
	if err := syscall.Kill(owner, sig); err != nil {
		return fmt.Errorf("ask process %d to %s: %w", owner, command, err)
	}
	return nil
}
