package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/arcinit/arcinit/internal/guarded"
	"github.com/arcinit/arcinit/internal/logs"
	"github.com/arcinit/arcinit/internal/process"
	"github.com/arcinit/arcinit/pkg/arcsetup"
	"github.com/arcinit/arcinit/pkg/arcsetup/netd"
)

// startNetwork starts this same program in its other role for life. The guest has
// its name by now.
func (c *caretaker) startNetwork() (bool, error) {
	cfg := c.config.Load()
	hostname, err := os.Hostname()
	if err != nil {
		err = fmt.Errorf("read the host name: %w", err) // the servers are not told it
	}
	told := daemonConfig{log: cfg.Log, Config: netd.Config{
		Roles: arcsetup.NICRoles(cfg.Network), Hostname: hostname,
		ProbeAddress: cfg.ProbeAddress, IPv6Router: cfg.IPv6Router,
	}}
	s := service("netd", "/proc/self/exe", append([]string{"netd"}, told.args()...)...)
	s.Args[0] = "uinit"
	s.Sinks = []logs.Sink{c.log.kernel, c.log.console, c.log.file}
	// Leases are renewed, and the boot has its network soon, however busy the
	// processors are. It takes little of their time.
	s.Nice = -20
	s.EndSignal = func() syscall.Signal {
		if c.config.Load().ReleaseOnPowerOff && c.shutdown.Action() == process.PowerOff {
			return releaseSignal
		}
		return syscall.SIGTERM
	}
	started, errStart := c.services.Start(s)
	return started, errors.Join(err, errStart)
}

// releaseSignal ends the network daemon, which gives its leases back before; one
// that has none yet, since it has only just been started, it ends at once: Go
// would pass over others.
const releaseSignal = syscall.SIGHUP

// netDaemon is the role netd; its arguments are its configuration.
func netDaemon(args []string) error {
	var level slog.LevelVar
	// PID 1 reads this and adds the name.
	log := slog.New(logs.NewHandler("", &level, logs.Prefixed{W: os.Stderr}))
	ctx, end := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, releaseSignal)
	guarded.RestartOnPanic(log, "netd signals", time.After, func() {
		if <-signals == releaseSignal {
			end(netd.ErrRelease)
		}
		end(nil)
	})
	cfg, err := parseDaemonConfig(args)
	if err != nil {
		log.Warn("network daemon", "err", err)
	}
	level.Set(cfg.log)
	cfg.NewBridge = arcsetup.MoveBridge
	err = netd.Run(ctx, cfg.Config, log)
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		log.Error("network daemon ended", "err", err)
	}
	return err
}

// printNetwork prints what the network daemon says of the NICs; start is when
// /init began.
func printNetwork(out io.Writer, start time.Duration) error {
	network, err := netd.ReadReport(netd.DefaultReport)
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "\nNIC\tROLE\tSTATE\tADDRESSES\tSERVER\tUNTIL\tAFTER /init\tERROR")
	for _, n := range network.NICs {
		after, server, until := "", "", ""
		if n.ConfiguredNS != 0 {
			after = fmt.Sprintf("%.2f ms", float64(n.ConfiguredNS-int64(start))/1e6)
		}
		if n.Server.IsValid() {
			server = n.Server.String()
		}
		if !n.Expires.IsZero() {
			until = n.Expires.UTC().Format(time.TimeOnly)
		}
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%v\t%s\t%s\t%s\t%s\n", n.Name, n.Role, n.State, n.Addresses, server, until, after, n.Error)
	}
	return table.Flush()
}
