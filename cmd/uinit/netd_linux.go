package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	stdlog "log"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/arcinit/arcinit/pkg/arcsetup"
	"github.com/arcinit/arcinit/pkg/arcsetup/guarded"
	"github.com/arcinit/arcinit/pkg/arcsetup/netd"
	"github.com/arcinit/arcinit/pkg/arcsetup/pid1"
)

// networkDaemon is this same program in its other role for life. The hosts step
// has named the guest.
func (c *caretaker) networkDaemon() (pid1.Service, error) {
	cfg := c.config.Load()
	hostname, err := os.Hostname()
	if err != nil {
		return pid1.Service{}, fmt.Errorf("read the host name: %w", err)
	}
	network, err := json.Marshal(netd.Config{
		Roles: arcsetup.NICRoles(cfg.Network), Hostname: hostname,
		ProbeAddress: cfg.ProbeAddress, IPv6Router: cfg.IPv6Router,
	})
	if err != nil {
		return pid1.Service{}, fmt.Errorf("configuration of the network daemon: %w", err)
	}
	s := service("netd", "/proc/self/exe", "netd", "-config", string(network), "-log", cfg.Log.String())
	s.Args[0] = "uinit"
	if c.guest.HasShare() {
		s.Args = append(s.Args, "-logfile", arcsetup.LogPath)
	}
	s.EndSignal = func() syscall.Signal {
		if cfg.ReleaseOnPowerOff && c.shutdown.Action() == pid1.PowerOff {
			return releaseSignal
		}
		return syscall.SIGTERM
	}
	return s, nil
}

func (c *caretaker) startNetwork() (bool, error) {
	s, err := c.networkDaemon()
	if err != nil {
		return false, err
	}
	return c.services.Start(s)
}

// releaseSignal ends the network daemon, which gives its leases back before.
const releaseSignal = syscall.SIGUSR2

// netDaemon is the role netd.
func netDaemon(args []string) error {
	flags := flag.NewFlagSet("netd", flag.ContinueOnError)
	network := flags.String("config", "{}", "what the host says of the network, as JSON")
	level := flags.String("log", "INFO", "lowest level that is logged")
	file := flags.String("logfile", "", "log file to add to")
	if err := flags.Parse(args); err != nil {
		return err
	}
	log := newLogging("netd")
	if err := log.level.UnmarshalText([]byte(*level)); err != nil {
		log.Warn("log level", "err", err)
	}
	if *file != "" {
		if err := log.file.Start(log.Logger, *file, false); err != nil {
			log.Warn("log", "err", err)
		}
	}
	defer log.file.Flush()
	var cfg netd.Config
	if err := json.Unmarshal([]byte(*network), &cfg); err != nil {
		log.Warn("configuration of the network daemon, defaults used", "err", err)
	}
	cfg.NewBridge = func(link string) error {
		_, err := arcsetup.OpenBridge(link)
		return err
	}
	// The DHCP library prints whole packets to the standard logger.
	stdlog.SetFlags(0)
	stdlog.SetOutput(slog.NewLogLogger(log.Handler(), slog.LevelDebug).Writer())

	ctx, end := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, releaseSignal)
	guarded.Go(log.Logger, "signals", func() {
		if <-signals == releaseSignal {
			end(netd.ErrRelease)
		}
		end(nil)
	})
	err := netd.Run(ctx, cfg, log.Logger)
	if ctx.Err() != nil {
		return nil // it was asked to end
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
