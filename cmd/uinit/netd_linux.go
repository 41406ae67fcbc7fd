package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/arcinit/arcinit/internal/guarded"
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
	if c.guest.HasShare() {
		told.logFile = arcsetup.LogPath
	}
	s := service("netd", "/proc/self/exe", append([]string{"netd"}, told.args()...)...)
	s.Args[0] = "uinit"
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

// logFileDelay is how long the network daemon's lines wait for their file at first:
// longer than a lease takes where a server answers.
const logFileDelay = 100 * time.Millisecond

// releaseSignal ends the network daemon, which gives its leases back before; one
// that has none yet, since it has only just been started, it ends at once: Go
// would pass over others.
const releaseSignal = syscall.SIGHUP

// netDaemon is the role netd; its arguments are its configuration.
func netDaemon(args []string) error {
	log := newLogging("netd")
	ctx, end := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, releaseSignal)
	guarded.RestartOnPanic(log.Logger, "netd signals", time.After, func() {
		if <-signals == releaseSignal {
			end(netd.ErrRelease)
		}
		end(nil)
	})
	cfg, err := parseDaemonConfig(args)
	if err != nil {
		log.Warn("network daemon", "err", err)
	}
	log.level.Set(cfg.log)
	if cfg.logFile != "" {
		// The network need not wait for the share, nor share the processor
		// with it. What is said until then is written then.
		guarded.Go(log.Logger, "log file", func() {
			<-time.After(logFileDelay)
			if err := log.file.Start(log.Logger, cfg.logFile); err != nil {
				log.Warn("log", "err", err)
			}
		})
	}
	defer log.file.Flush()
	cfg.NewBridge = arcsetup.MoveBridge
	err = netd.Run(ctx, cfg.Config, log.Logger)
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		log.Error("network daemon ended", "err", err)
	}
	return err
}

// printNetwork prints the network daemon's report. The DHCP packages only build on
// some systems, so uinit reads the report on Linux alone.
func printNetwork(out io.Writer, start time.Duration) error {
	network, err := netd.ReadReport(netd.DefaultReport)
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintln(out)
	return network.WriteTable(out, start)
}
