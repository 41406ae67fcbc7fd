package uinit

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/arcinit/arcinit/internal/built"
	"github.com/arcinit/arcinit/internal/guarded"
	"github.com/arcinit/arcinit/internal/process"
	"github.com/arcinit/arcinit/pkg/arcsetup"
	"github.com/arcinit/arcinit/pkg/arcsetup/netd"
)

const usage = `usage: uinit           set up this guest and run it; in a running guest: repeat the set-up
       uinit plan      print the steps of the boot, in order
       uinit report    print the report of this boot and the network's state
       uinit poweroff  stop the services and power off
       uinit reboot    stop the services and reboot
       uinit version   print the version
`

// Run picks this process's role from its PID and arguments, and plays it. guestPlan returns the guest's steps; arcsetup.Plan has the standard ones.
// As PID 1 Run does not return.
func Run(args []string, out io.Writer, guestPlan Plan) error {
	if os.Getpid() == 1 {
		// The arguments are kernel parameters that the kernel does not know. The kernel panics when PID 1 exits, so PID 1 retries whatever fails.
		for {
			err := guarded.Call("init", func() error { return runInit("init", out, guestPlan) })
			fmt.Fprintln(os.Stderr, "uinit: init failed; restarting it:", err)
			<-time.After(time.Second)
		}
	}
	if len(args) == 0 {
		return runInit("uinit", out, guestPlan)
	}
	if err := guarded.Fault(args[0]); err != nil {
		return err
	}
	switch args[0] {
	case "netd":
		return netDaemon(args[1:])
	case "modprobe":
		return modprobe(args[1:])
	case "plan":
		return printPlan(out, guestPlan)
	case "report":
		return report(out)
	case "poweroff":
		return signalOwner(syscall.SIGUSR2)
	case "reboot":
		return signalOwner(syscall.SIGTERM)
	case "version":
		_, err := fmt.Fprintln(out, built.Version())
		return err
	}
	return fmt.Errorf("unknown command %q\n%s", args[0], usage)
}

func printPlan(out io.Writer, guestPlan Plan) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "STEP\tNEEDS\tRESULT")
	for i, s := range bootPlan(guestPlan, runtime.NumCPU()) {
		needs := strings.Join(s.Needs, " ")
		if n := len(s.Needs); n > 4 {
			needs = fmt.Sprintf("%d of the %d above", n, i)
		}
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\n", s.Name, needs, s.Doc)
	}
	arcsetup.Configured().WriteMounts(table)
	return table.Flush()
}

// report prints the report of this boot and the network as it is now.
func report(out io.Writer) error {
	data, err := os.ReadFile(arcsetup.ReportPath)
	if err != nil {
		return fmt.Errorf("boot report: %w", err)
	}
	r, err := arcsetup.ParseReport(data)
	if err != nil {
		return err
	}
	if err := r.WriteTable(out); err != nil {
		return err
	}
	network, err := netd.ReadReport(netd.DefaultReport)
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintln(out)
	return network.WriteTable(out, r.Start)
}

// modprobe loads a module when the kernel asks for it, as `modprobe -q -- MODULE`, or iptables-legacy, as
// `modprobe MODULE -q`. The first argument is the script that they run.
func modprobe(args []string) error {
	args = slices.DeleteFunc(args, func(arg string) bool { return strings.HasPrefix(arg, "-") })
	if len(args) != 2 {
		return fmt.Errorf("modprobe: no module named in %q", args)
	}
	return arcsetup.Modprobe(args[1])
}

// signalOwner sends a signal to the process that runs this system.
func signalOwner(sig syscall.Signal) error {
	owner, err := process.Owner(process.OwnerAddress)
	if err != nil {
		return err
	}
	if err := syscall.Kill(owner, sig); err != nil {
		return fmt.Errorf("send %v to process %d: %w", sig, owner, err)
	}
	return nil
}
