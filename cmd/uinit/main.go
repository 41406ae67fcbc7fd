// Command uinit is the first program of a container VM: as /init of an
// initramfs, or as the uinit of u-root's own init, it sets the guest up, starts
// the agent and looks after it. Called with a subcommand it tells about that, or
// plays one of its other roles.
package main

import (
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"github.com/arcinit/arcinit/internal/built"
	"github.com/arcinit/arcinit/internal/guarded"
	"github.com/arcinit/arcinit/pkg/arcsetup"
	"github.com/arcinit/arcinit/pkg/arcsetup/plan"
)

const usage = `usage: uinit                    set up this guest and look after it
       uinit plan               the steps of the set-up, in order, and what this kernel lacks for them
       uinit report [FILE]      what became of them at this boot, and the network
       uinit poweroff           end the services and power off
       uinit reboot             the same, and start again
       uinit version
`

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "uinit:", err)
		os.Exit(1)
	}
}

// run decides by process id and arguments which role this process has.
func run(args []string, out io.Writer) error {
	if os.Getpid() == 1 {
		// The kernel passes the parameters it does not know as arguments.
		// It panics when PID 1 ends, so that must not happen even where
		// nothing else is left to do than to try again.
		for {
			err := guarded.Call("init", func() error { return lookAfter("init", out) })
			fmt.Fprintln(os.Stderr, "uinit: this system is without an init:", err)
			<-time.After(time.Second)
		}
	}
	if len(args) == 0 {
		return lookAfter("uinit", out)
	}
	guarded.Fault(args[0])
	switch args[0] {
	case "netd":
		return netDaemon(args[1:])
	case "modprobe":
		return modprobe(args[1:])
	case "plan":
		return printPlan(out)
	case "report":
		return report(args[1:], out)
	case "poweroff", "reboot":
		return requestShutdown(args[0])
	case "version":
		_, err := fmt.Fprintln(out, built.Version())
		return err
	}
	return fmt.Errorf("unknown command %q\n%s", args[0], usage)
}

func printPlan(out io.Writer) error {
	steps := arcsetup.Plan(&arcsetup.Guest{Root: "/"})
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "STEP\tNEEDS\tAFTER IT")
	for _, s := range steps {
		needs := fmt.Sprint(s.Needs)
		if len(s.Needs) > 8 {
			needs = "[all above]"
		}
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\n", s.Name, needs[1:len(needs)-1], s.Doc)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	return printLacks(out, steps)
}

// printLacks says which steps the running kernel does not support. Asking it
// takes root, and reading what the plan is does not.
func printLacks(out io.Writer, steps []plan.Step) error {
	if os.Geteuid() != 0 {
		_, err := fmt.Fprintln(out, "\nWhat this kernel lacks for them, it says to root.")
		return err
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "\nSTEP\tWHAT THIS KERNEL LACKS FOR IT")
	lacking := 0
	for _, s := range steps {
		for _, want := range s.Wants {
			if err := arcsetup.Lacks(want); err != nil {
				lacking++
				_, _ = fmt.Fprintf(table, "%s\t%v\n", s.Name, err)
			}
		}
	}
	if lacking == 0 {
		_, _ = fmt.Fprintln(table, "none\tnothing")
	}
	return table.Flush()
}

// report prints this boot and the present state of the network, or the boot report
// in the file that args name.
func report(args []string, out io.Writer) error {
	path := arcsetup.ReportPath
	if len(args) > 0 {
		path = args[0]
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read the boot report: %w", err)
	}
	r, err := arcsetup.ParseReport(data)
	if err != nil {
		return err
	}
	if err := r.WriteTable(out); err != nil || len(args) > 0 {
		return err
	}
	return printNetwork(out, r.Start)
}
