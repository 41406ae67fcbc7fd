package config

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"github.com/arcinit/arcinit/internal/binfmt"
	"github.com/arcinit/arcinit/internal/notify"
)

// Config is what a host can tell arcinit. The kernel command line wins over
// arcinit.toml, and that over the defaults.
type Config struct {
	// Hostname replaces the kernel's host name; empty keeps that one.
	Hostname string
	// Log is the lowest level that is logged.
	Log slog.Level
	// Agent is the path of the agent's program.
	Agent string
	// DebugConsole asks for a root shell on the console.
	DebugConsole bool
	// Nameservers are what /etc/resolv.conf lists.
	Nameservers []netip.Addr
	Network
	// DockerDaemon is merged into /etc/docker/daemon.json.
	DockerDaemon map[string]any
	// Sysctls are kernel parameters to be set, by path below /proc/sys.
	Sysctls map[string]string
	// Grace is how long services have to end at shutdown.
	Grace time.Duration
	// WithoutPowerOff is what a power-off does where the kernel cannot:
	// reboot or halt.
	WithoutPowerOff string
	// Notify is where the host listens for how the guest is; the zero Address
	// is nowhere.
	Notify notify.Address
	// Services run beside the agent, in the order of their start.
	Services []Service
	// Handlers have programs of other kinds run by an interpreter, beside those
	// that arcinit knows itself.
	Handlers []*binfmt.Handler
}

// DefaultFile is where the host's configuration is looked for.
const DefaultFile = "/arcbox/etc/arcinit.toml"

// Default is the configuration of a host that says nothing.
func Default() Config {
	return Config{
		Log:         slog.LevelInfo,
		Agent:       "/arcbox/bin/arcbox-agent",
		Nameservers: []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})},
		Grace:       25 * time.Second,
		// The host of most VMs takes a reboot for an end; a halt it does not notice.
		WithoutPowerOff: "reboot",
	}
}

// FallbackHostname is the name of a guest that neither the kernel nor the host
// has given one.
const FallbackHostname = "arcbox"

// CheckHostname reports why name cannot be a host name (RFC 1123 section 2.1:
// letters, digits and inner hyphens, in labels of at most 63; Linux takes 64
// bytes in all).
func CheckHostname(name string) error {
	if len(name) > 64 {
		return fmt.Errorf("host name %q: longer than 64 bytes", name)
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return fmt.Errorf("host name %q: a label is empty, too long, or has a hyphen at its end", name)
		}
		for _, c := range label {
			if c != '-' && (c < '0' || '9' < c) && (c < 'A' || 'Z' < c) && (c < 'a' || 'z' < c) {
				return fmt.Errorf("host name %q: %q is not a letter, digit or hyphen", name, c)
			}
		}
	}
	return nil
}

// parseLevel reads a log level as the command line and arcinit.toml spell it.
func parseLevel(s string) (slog.Level, error) {
	switch s {
	case "debug":
		return slog.LevelDebug, nil
	case "info":
		return slog.LevelInfo, nil
	case "warn":
		return slog.LevelWarn, nil
	case "error":
		return slog.LevelError, nil
	}
	return 0, fmt.Errorf("log level %q: not debug, info, warn or error", s)
}

// checkPath reports why p cannot be the path of a file in the guest.
func checkPath(p string) error {
	if !strings.HasPrefix(p, "/") {
		return fmt.Errorf("path %q: not absolute", p)
	}
	return nil
}

// setHostname, setLog, setAgent and setNotify validate a value for the key of that name,
// whichever source it came from.

func (c *Config) setHostname(v string) error {
	if err := CheckHostname(v); err != nil {
		return err
	}
	c.Hostname = v
	return nil
}

func (c *Config) setLog(v string) error {
	level, err := parseLevel(v)
	if err != nil {
		return err
	}
	c.Log = level
	return nil
}

func (c *Config) setAgent(v string) error {
	if err := checkPath(v); err != nil {
		return err
	}
	c.Agent = v
	return nil
}

func (c *Config) setNotify(v string) error {
	address, err := notify.Parse(v)
	if err != nil {
		return err
	}
	c.Notify = address
	return nil
}

// Load puts the configuration together: the defaults, then the file that the
// command line names (else DefaultFile, which may be absent), then the command
// line. readFile reads a file of the guest (os.ReadFile). The Config is always
// usable; the error joins all that was refused.
func Load(cmdline CommandLine, readFile func(string) ([]byte, error)) (Config, error) {
	c := Default()
	path, named := cmdline.File()
	errFile := c.mergeFile(path, named, readFile)
	return c, errors.Join(errFile, c.mergeCommandLine(cmdline))
}
