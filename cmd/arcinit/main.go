// Command arcinit is the host's tool: it shows what a guest's reports say and
// checks a guest's configuration before the guest boots with it. It runs where
// the host is, on Linux and macOS, and needs no guest.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/arcinit/arcinit/internal/built"
	"github.com/arcinit/arcinit/pkg/arcsetup"
	"github.com/arcinit/arcinit/pkg/arcsetup/config"
	"github.com/arcinit/arcinit/pkg/arcsetup/netd"
)

const usage = `usage: arcinit report BOOT.json [NET.json]   print a guest's boot, and its network, as tables
       arcinit plot [BOOT.json [NET.json]]   draw the boot as an SVG picture, on standard output
       arcinit check FILE                    report what is wrong with a configuration (arcinit.toml)
       arcinit version

BOOT.json is a guest's /run/arcbox/boot.json, which is also log/boot.json on its share arcbox.
NET.json is its /run/arcbox/net.json. Without BOOT.json, plot reads standard input.
`

// errUsage says that the command line is wrong, and not a file.
var errUsage = errors.New("cannot understand the command line")

func main() {
	err := run(os.Args[1:], os.Stdin, os.Stdout)
	switch {
	case errors.Is(err, errUsage):
		fmt.Fprintf(os.Stderr, "arcinit: %v\n%s", err, usage)
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "arcinit:", err)
		os.Exit(1)
	}
}

func run(args []string, in io.Reader, out io.Writer) error {
	if len(args) == 0 {
		return fmt.Errorf("%w: no command", errUsage)
	}
	command, args := args[0], args[1:]
	switch {
	case command == "report" && (len(args) == 1 || len(args) == 2):
		return report(args, out)
	case command == "plot" && len(args) <= 2:
		return plot(args, in, out)
	case command == "check" && len(args) == 1:
		return check(args[0], out)
	case command == "version" && len(args) == 0:
		return write(out, built.Version()+"\n")
	case command == "help" || command == "-h" || command == "--help":
		return write(out, usage)
	}
	return fmt.Errorf("%w: %s with %d arguments", errUsage, command, len(args))
}

func report(paths []string, out io.Writer) error {
	boot, network, err := read(paths, nil)
	if err != nil {
		return err
	}
	if err := boot.WriteTable(out); err != nil || len(paths) == 1 {
		return err
	}
	if err := write(out, "\n"); err != nil {
		return err
	}
	return network.WriteTable(out, boot.Start)
}

func plot(paths []string, in io.Reader, out io.Writer) error {
	boot, network, err := read(paths, in)
	if err != nil {
		return err
	}
	return draw(out, boot, network)
}

// read reads the boot report in the first path, or from in where there is none,
// and the network report in the second, if any.
func read(paths []string, in io.Reader) (boot arcsetup.Report, network netd.Report, err error) {
	var data []byte
	if len(paths) == 0 {
		data, err = io.ReadAll(in)
	} else {
		data, err = os.ReadFile(paths[0])
	}
	if err != nil {
		return boot, network, fmt.Errorf("read the boot report: %w", err)
	}
	if boot, err = arcsetup.ParseReport(data); err != nil || len(paths) < 2 {
		return boot, network, err
	}
	network, err = netd.ReadReport(paths[1])
	return boot, network, err
}

func check(path string, out io.Writer) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read the configuration: %w", err)
	}
	if err := config.CheckFile(path, text); err != nil {
		return err
	}
	return write(out, path+": ok\n")
}

func write(out io.Writer, text string) error {
	if _, err := io.WriteString(out, text); err != nil {
		return fmt.Errorf("write the output: %w", err)
	}
	return nil
}
