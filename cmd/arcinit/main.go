// Command arcinit is the host's tool: it shows what a guest's reports say and checks a guest's configuration before the
// guest boots with it. It runs where the host is, on Linux and macOS, and needs no guest.
package main

import (
	"fmt"
	"io"
	"os"

	"github.com/arcinit/arcinit/internal/built"
	"github.com/arcinit/arcinit/pkg/arcsetup"
	"github.com/arcinit/arcinit/pkg/arcsetup/netd"
)

const usage = `usage: arcinit report BOOT.json [NET.json]  print a guest's boot, and its network, as tables
       arcinit plot BOOT.json [NET.json]    draw the boot as an SVG picture, on standard output
       arcinit diff A.json B.json           compare two boots, step by step: what became slower comes first
       arcinit check [IMAGE.toml] HOST.toml report what is wrong with a configuration (arcinit.toml), and print the plan that results
       arcinit version

BOOT.json is a guest's /run/arcbox/boot.json, which is also log/boot.json on its share arcbox.
NET.json is its /run/arcbox/net.json.
`

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "arcinit:", err)
		os.Exit(1)
	}
}

func run(args []string, out io.Writer) (err error) {
	command := ""
	if len(args) > 0 {
		command, args = args[0], args[1:]
	}
	switch n := len(args); {
	case (command == "report" || command == "plot") && (n == 1 || n == 2):
		return show(command, args, out)
	case command == "diff" && n == 2:
		return diff(args[0], args[1], out)
	case command == "check" && (n == 1 || n == 2):
		return check(args, out)
	case command == "version" && n == 0:
		_, err = fmt.Fprintln(out, built.Version())
	case command == "help" || command == "-h" || command == "--help":
		_, err = fmt.Fprint(out, usage)
	default:
		err = fmt.Errorf("cannot understand command %q with %d arguments\n%s", command, n, usage)
	}
	return err
}

// show prints the boot report in the first path, and the network report in the second, if any, as tables or as a picture.
func show(command string, paths []string, out io.Writer) error {
	boot, err := readBoot(paths[0])
	if err != nil {
		return err
	}
	var network netd.Report
	if len(paths) == 2 {
		if network, err = netd.ReadReport(paths[1]); err != nil {
			return err
		}
	}
	if command == "plot" {
		return draw(out, boot, network)
	}
	if err := boot.WriteTable(out); err != nil || len(paths) == 1 {
		return err
	}
	_, _ = fmt.Fprintln(out)
	return network.WriteTable(out, boot.Start)
}

func readBoot(path string) (r arcsetup.Report, err error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return r, fmt.Errorf("read the boot report: %w", err)
	}
	return arcsetup.ParseReport(data)
}
