package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/arcinit/arcinit/pkg/arcsetup"
	"github.com/arcinit/arcinit/pkg/arcsetup/guarded"
	"github.com/arcinit/arcinit/pkg/arcsetup/netd"
	"github.com/arcinit/arcinit/pkg/arcsetup/pid1"
	"github.com/arcinit/arcinit/pkg/arcsetup/wholefile"
	"golang.org/x/sys/unix"
)

// daemonConfig is what the network daemon is told, in a file: it is started
// before the host's configuration can be read, and its start takes time.
type daemonConfig struct {
	netd.Config
	Log     slog.Level `json:"log"`
	LogFile string     `json:"log_file,omitempty"`
}

// startNetwork starts this same program in its other role for life.
func (c *caretaker) startNetwork() (bool, error) {
	s := service("netd", "/proc/self/exe", "netd", arcsetup.NetworkConfigPath)
	s.Args[0] = "uinit"
	// Leases are renewed, and the boot has its network soon, however busy the
	// processors are. It takes little of their time.
	s.Nice = -20
	s.EndSignal = func() syscall.Signal {
		if c.config.Load().ReleaseOnPowerOff && c.shutdown.Action() == pid1.PowerOff {
			return releaseSignal
		}
		return syscall.SIGTERM
	}
	return c.services.Start(s)
}

// configureNetwork tells the network daemon what it waits for. The guest has its
// name by now.
func (c *caretaker) configureNetwork() (bool, error) {
	cfg := c.config.Load()
	hostname, err := os.Hostname()
	if err != nil {
		err = fmt.Errorf("read the host name: %w", err) // the servers are not told it
	}
	told := daemonConfig{Log: cfg.Log, Config: netd.Config{
		Roles: arcsetup.NICRoles(cfg.Network), Hostname: hostname,
		ProbeAddress: cfg.ProbeAddress, IPv6Router: cfg.IPv6Router,
	}}
	if c.guest.HasShare() {
		told.LogFile = arcsetup.LogPath
	}
	data, errJSON := json.Marshal(told)
	if errJSON != nil {
		return false, errors.Join(err, errJSON)
	}
	return true, errors.Join(err, wholefile.Write(arcsetup.NetworkConfigPath, append(data, '\n'), 0o644))
}

// logFileDelay is how long the network daemon's lines wait for their file at first:
// longer than a lease takes where a server answers.
const logFileDelay = 100 * time.Millisecond

// releaseSignal ends the network daemon, which gives its leases back before.
const releaseSignal = syscall.SIGUSR2

// netDaemon is the role netd; its argument is the file with its configuration.
func netDaemon(args []string) error {
	if len(args) != 1 {
		return errors.New("netd takes one file")
	}
	// A socket's close, and a share's file, can take some ms in the kernel, which
	// on one processor nothing else here would run in: the Go scheduler notices
	// late.
	runtime.GOMAXPROCS(max(2, runtime.NumCPU()))
	log := newLogging("netd")
	ctx, end := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, releaseSignal)
	guarded.Keep(log.Logger, "netd signals", time.After, func() {
		if <-signals == releaseSignal {
			end(netd.ErrRelease)
		}
		end(nil)
	})
	cfg, err := awaitConfig(ctx, args[0])
	if ctx.Err() != nil {
		return nil // it was asked to end
	}
	if err != nil {
		log.Warn("configuration of the network daemon, defaults used", "err", err)
	}
	log.level.Set(cfg.Log)
	if cfg.LogFile != "" {
		// The network need not wait for the share, nor share the processor
		// with it. What is said until then is written then.
		guarded.Go(log.Logger, "log file", func() {
			<-time.After(logFileDelay)
			if err := log.file.Start(log.Logger, cfg.LogFile, false); err != nil {
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

// awaitConfig reads the configuration in the file path as soon as it is there.
func awaitConfig(ctx context.Context, path string) (daemonConfig, error) {
	cfg, err := readConfig(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return cfg, err
	}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return cfg, fmt.Errorf("wait for %s: %w", path, err)
	}
	// It stays open: to close it the kernel waits for an SRCU grace period
	// (fsnotify_destroy_group, fs/notify/group.c), and so would the network.
	events := os.NewFile(uintptr(fd), "inotify")
	context.AfterFunc(ctx, func() { _ = events.SetReadDeadline(time.Unix(1, 0)) })
	watch, err := unix.InotifyAddWatch(fd, filepath.Dir(path), unix.IN_MOVED_TO)
	if err != nil {
		return cfg, fmt.Errorf("wait for %s: %w", path, err)
	}
	defer unix.InotifyRmWatch(fd, uint32(watch)) //nolint:errcheck // the directory may be gone
	for {
		if cfg, err = readConfig(path); !errors.Is(err, fs.ErrNotExist) {
			return cfg, err
		}
		if _, err := events.Read(make([]byte, unix.SizeofInotifyEvent+unix.NAME_MAX+1)); err != nil {
			return cfg, fmt.Errorf("wait for %s: %w", path, err)
		}
	}
}

func readConfig(path string) (cfg daemonConfig, err error) {
	data, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(data, &cfg)
	}
	if err != nil {
		return cfg, fmt.Errorf("read %s: %w", path, err)
	}
	return cfg, nil
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
