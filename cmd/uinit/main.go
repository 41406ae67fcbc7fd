// Command uinit is the first program of a container VM: as /init of an
// initramfs, or as the uinit of u-root's own init, it sets the guest up, starts
// the agent and looks after it. Called with a subcommand it tells about that, or
// plays one of its other roles.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"text/tabwriter"
	"time"

	"github.com/arcinit/arcinit/internal/built"
	"github.com/arcinit/arcinit/internal/guarded"
	"github.com/arcinit/arcinit/pkg/arcsetup"
	"github.com/arcinit/arcinit/pkg/arcsetup/config"
)

const usage = `usage: uinit                    set up this guest and look after it
       uinit plan               the steps of the set-up, in order
       uinit report [FILE]      what became of them at this boot, and the network
       uinit plot [FILE [NET]]  the same as an SVG; NET is the network's report
       uinit check FILE         what is wrong with a configuration (arcinit.toml)
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
	case "plot":
		return drawBoot(args[1:], out)
	case "check":
		return check(args[1:], out)
	case "poweroff", "reboot":
		return requestShutdown(args[0])
	case "version":
		_, err := fmt.Fprintln(out, version())
		return err
	}
	return fmt.Errorf("unknown command %q\n%s", args[0], usage)
}

// version is what the build says: the module's version where it was built as a
// dependency, else the commit, else when its sources were last changed.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value[:min(12, len(s.Value))]
		}
	}
	if t := built.Time(); !t.IsZero() {
		return "devel-" + t.UTC().Format("20060102150405")
	}
	return "devel"
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
	return table.Flush()
}

// report prints this boot, and its network as it is now; or a report that was
// kept.
func report(args []string, out io.Writer) error {
	path := arcsetup.ReportPath
	if len(args) > 0 {
		path = args[0]
	}
	r, err := readReport(path)
	if err != nil {
		return err
	}
	if err := r.WriteTable(out); err != nil || len(args) > 0 {
		return err
	}
	return printNetwork(out, r.Start)
}

func readReport(path string) (arcsetup.Report, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return arcsetup.Report{}, fmt.Errorf("boot report: %w", err)
	}
	return arcsetup.ParseReport(data)
}

func check(args []string, out io.Writer) error {
	if len(args) != 1 {
		return errors.New("check takes one file")
	}
	text, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	if err := config.CheckFile(args[0], text); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%s: ok\n", args[0])
	return err
}
