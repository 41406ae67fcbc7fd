package main

import (
	"cmp"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/arcinit/arcinit/internal/binfmt"
	"github.com/arcinit/arcinit/pkg/arcsetup/config"
	"github.com/arcinit/arcinit/pkg/arcsetup/plan"
)

// planJSON is the plan of uinit, which builds on Linux alone. A test of package uinit compares the file with the plan.
//
//go:embed plan.json
var planJSON []byte

// check prints what is set, and by which of the files: the last is the host's, one before it the image's. Then it prints the plan that results.
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
	var steps []plan.Result
	if errPlan := json.Unmarshal(planJSON, &steps); errPlan != nil {
		return errors.Join(err, errPlan)
	}
	delete(c.From, "config")
	settings := configured(c)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "STEP\tCONFIGURED\tRESULT")
	for _, s := range steps {
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\n", s.Step, settings[s.Step], s.Doc)
	}
	c.WriteMounts(table)
	c.From.WriteTable(table)
	return errors.Join(err, table.Flush())
}

// configured returns in a few words what the configuration has for each of the steps. Mounts have a table of their own.
func configured(c config.Config) map[string]string {
	standard := config.Default()
	further := slices.DeleteFunc(slices.Clone(c.Shares), func(s config.Share) bool { _, ok := standard.Share(s.Tag); return ok })
	nic := func(n config.NIC) string { return n.NIC + " " + n.Role }
	return map[string]string{
		"console":  optional(c.DebugConsole, "a root shell"),
		"hostname": cmp.Or(c.Hostname, "the kernel's, else "+config.FallbackHostname),
		"network":  list(append([]config.NIC{{NIC: cmp.Or(c.Primary, "first NIC"), Role: "primary"}, {NIC: cmp.Or(c.Bridge, "second NIC"), Role: "bridge"}}, c.NICs...), nic),
		"agent":    c.Agent.Argv[0],
		"services": list(c.Services, func(s config.Service) string { return s.Name }),
		"shares":   list(further, func(s config.Share) string { return s.Tag }),
		"disks":    list(c.Disks, func(d config.Disk) string { return d.Device }),
		"binfmt":   list(c.Handlers, func(h *binfmt.Handler) string { return h.Name }),
		"resolv":   list(c.Nameservers, netip.Addr.String),
		"docker":   c.ContainerNetwork,
		"ca":       c.Certificates,
		"wake":     c.ClockSource,
		"zram":     optional(c.Zram > 0, fmt.Sprint(c.Zram, "% of the memory")),
		"sysctl":   strings.Join(slices.Sorted(maps.Keys(c.Sysctls)), ", "),
	}
}

// optional returns what an optional step does, if it is configured.
func optional(configured bool, what string) string {
	if !configured {
		return "not configured"
	}
	return what
}

// list joins what name returns for each of the values.
func list[T any](values []T, name func(T) string) string {
	names := make([]string, len(values))
	for i, v := range values {
		names[i] = name(v)
	}
	return optional(len(names) > 0, strings.Join(names, ", "))
}
