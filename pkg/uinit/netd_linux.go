package uinit

import (
	"cmp"
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"github.com/arcinit/arcinit/internal/guarded"
	"github.com/arcinit/arcinit/internal/logs"
	"github.com/arcinit/arcinit/internal/process"
	"github.com/arcinit/arcinit/pkg/arcsetup"
	"github.com/arcinit/arcinit/pkg/arcsetup/config"
	"github.com/arcinit/arcinit/pkg/arcsetup/netd"
	"golang.org/x/sys/unix"
)

// Signals to the network daemon, which SIGTERM ends. A daemon that has just been started ends at any of them.
const (
	releaseSignal = syscall.SIGHUP  // release the leases and end
	checkSignal   = syscall.SIGUSR1 // put right what other programs changed
)

// daemonConfig is the network daemon's argument, as JSON.
type daemonConfig struct {
	netd.Config
	Log slog.Level `json:"log"`
}

// startNetwork starts the network daemon: this program with another role. Each time that the daemon starts, it gets the configuration as it is then.
func (p *initProcess) startNetwork() (bool, error) {
	s := p.service("netd", "/proc/self/exe")
	s.Prepare = func(c *process.Command) error {
		c.Args = []string{"uinit", "netd", p.daemonArgument()}
		return nil
	}
	s.Sinks = p.log.sinks()
	s.Last, s.Grace = true, 5*time.Second
	s.Nice = -20 // the daemon needs little processor time, but at once: leases expire
	s.Env = nil  // it needs none
	s.EndSignal = func() syscall.Signal {
		if p.config.Load().ReleaseOnPowerOff && p.shutdown.Action() == process.PowerOff {
			return releaseSignal
		}
		return syscall.SIGTERM
	}
	return p.services.Start(s)
}

// daemonArgument is the network daemon's configuration.
func (p *initProcess) daemonArgument() string {
	cfg := p.config.Load()
	hostname, _ := os.Hostname() // the daemon does without
	argument, _ := json.Marshal(daemonConfig{Log: cfg.Log, Config: netd.Config{
		Roles: nicRoles(cfg.Network), SandboxSubnet: cfg.SandboxSubnet, Hostname: hostname, Hosts: "/etc/hosts", HostsAfter: arcsetup.ReportPath,
		ProbeAddress: cfg.ProbeAddress, IPv6Router: cfg.IPv6Router,
	}})
	return string(argument)
}

// nicRoles returns the NICs' roles in the form that the network daemon takes.
func nicRoles(n config.Network) netd.Roles {
	roles := netd.Roles{Primary: n.Primary, Bridge: n.Bridge}
	for _, nic := range n.NICs {
		roles.Further = append(roles.Further, netd.Further{NIC: nic.NIC, Role: netd.Role(nic.Role), Address: nic.Address})
	}
	return roles
}

// netDaemon runs the network daemon with its configuration as the only argument.
func netDaemon(args []string) error {
	var cfg daemonConfig
	var level slog.LevelVar
	log := slog.New(logs.NewHandler("", &level, logs.Prefixed{W: os.Stderr})) // PID 1 reads it
	// Before there are more threads, each of which has to be woken for this.
	if err := confine(); err != nil {
		log.Error("cannot drop the capabilities that the network daemon does not need", "err", err)
	}
	lookAgain := make(chan os.Signal, 1)
	signal.Notify(lookAgain, checkSignal)
	ctx, end := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, releaseSignal)
	guarded.RestartOnPanic(log, "netd signals", time.After, func() {
		if <-signals == releaseSignal {
			end(netd.ErrRelease)
		}
		end(nil)
	})
	if err := parseArgument(args, &cfg); err != nil {
		log.Error("cannot read the network daemon's configuration; using the defaults", "err", err)
		cfg = daemonConfig{}
	}
	level.Set(cfg.Log)
	cfg.LookAgain = lookAgain
	err := netd.Run(ctx, cfg.Config, log)
	if err != nil {
		log.Error("network daemon ended", "err", err)
	}
	return err
}

// confine gives up, for all threads and for good, the capabilities that a network daemon does not need
// (capabilities(7)). No program that this process starts can have others, although it runs as root (no_new_privs).
func confine() error {
	const kept = 1<<unix.CAP_NET_ADMIN | 1<<unix.CAP_NET_RAW | 1<<unix.CAP_NET_BIND_SERVICE
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	data := [2]unix.CapUserData{{Effective: kept, Permitted: kept}}
	_, _, errPrivs := syscall.AllThreadsSyscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0)
	_, _, errCaps := syscall.AllThreadsSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&data)), 0)
	if errno := cmp.Or(errPrivs, errCaps); errno != 0 {
		return errno
	}
	return nil
}

func parseArgument(args []string, cfg *daemonConfig) error {
	return json.Unmarshal([]byte(strings.Join(args, " ")), cfg)
}
