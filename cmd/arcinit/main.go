// Command arcinit is the host's tool: it shows what a guest's reports say and checks a guest's configuration before the
// guest boots with it. It runs where the host is, on Linux and macOS, and needs no guest.
package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"text/tabwriter"

	"github.com/arcinit/arcinit/internal/built"
	"github.com/arcinit/arcinit/pkg/arcsetup"
	"github.com/arcinit/arcinit/pkg/arcsetup/config"
	"github.com/arcinit/arcinit/pkg/arcsetup/netd"
)

const usage = `usage: arcinit report BOOT.json [NET.json]  print a guest's boot, and its network, as tables
       arcinit plot BOOT.json [NET.json]    draw the boot as an SVG picture, on standard output
       arcinit check [IMAGE.toml] HOST.toml report what is wrong with a configuration (arcinit.toml), and what it sets
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
	data, err := os.ReadFile(paths[0])
	if err != nil {
		return fmt.Errorf("read the boot report: %w", err)
	}
	boot, err := arcsetup.ParseReport(data)
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

// check prints what is set, and by which of the files: the last is the host's, one before it the image's.
func check(paths []string, out io.Writer) error {
	host, err := filepath.Abs(paths[len(paths)-1])
	if _, errStat := os.Stat(paths[0]); err != nil || errStat != nil {
		return errors.Join(err, errStat)
	}
	c, err := config.Load(config.CommandLine{{Key: "arcbox.config", Value: host}}, func(path string) ([]byte, error) {
		switch {
		case path == host:
			return os.ReadFile(path)
		case len(paths) > 1:
			return os.ReadFile(paths[0])
		}
		return nil, fs.ErrNotExist
	})
	delete(c.From, "config")
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	c.From.WriteTable(table)
	return errors.Join(err, table.Flush())
}
