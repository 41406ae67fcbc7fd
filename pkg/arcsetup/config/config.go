// Package config reads what image and host configure: the kernel command line, two files arcinit.toml, and the
// sandbox subnet in the VMM's own file. It parses and validates. It must not know what the values are used for.
//
// No error here is fatal. Each function returns a usable value, and an error for each value that it
// refused: where that value is, what was expected, and what is used instead.
package config

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/arcinit/arcinit/internal/binfmt"
	"github.com/arcinit/arcinit/internal/notify"
)

// Config is what can be configured. Each of these overrides those before it: the defaults, the image's file, the host's file,
// the kernel command line. Of lists, an entry takes the place of one with the same name, tag, path or device.
type Config struct {
	file         string       // the host's configuration file, if the command line names one
	allow        []string     // the sections that the host's file may set; nil for all
	From         From         // where each setting comes from
	Hostname     string       // replaces the kernel's host name, unless it is empty
	Log          slog.Level   // the lowest level that is logged
	Agent        Service      // the host's agent
	DebugConsole bool         // asks for a root shell on the console
	Nameservers  []netip.Addr // the servers in /etc/resolv.conf
	Network
	SandboxSubnet   netip.Prefix      // the IPv4 subnet of the VMM's sandboxes
	DockerDaemon    map[string]any    // merged into /etc/docker/daemon.json
	Sysctls         map[string]Sysctl // kernel parameters to set, by path below /proc/sys, or by a pattern of paths
	Grace           time.Duration     // how long agent and services have, unless they say otherwise
	Limit           time.Duration     // how long a shutdown may take
	WithoutPowerOff string            // what to do where the kernel cannot power off: reboot or halt
	Notify          notify.Address    // where the host listens for the guest's state
	Services        []Service         // run beside the agent, in the order of their start
	Handlers        []*binfmt.Handler // interpreters of foreign programs, beside arcinit's own
	handlers        []handler         // the same as the files have them
	Shares          []Share           // in the order of their mounts
	Tmpfs           []Tmpfs           // in the order of their mounts, except that /etc is last of /tmp, /var and /etc
	Disks           []Disk            // in the order of their mounts
	Require         []string          // the steps without which the guest is of no use
	Otherwise       string            // what to do if one of these fails: poweroff, reboot or halt
	ClockSource     string            // the clock to follow: auto, rtc, ptp, none, or the path of a PTP clock
	ClockStep       time.Duration     // how far behind that clock the wall clock may be
	Zram            uint64            // how much swap there is in compressed memory, in percent of all memory
	Certificates    string            // a directory with certificates to trust
	// ContainerNetwork is the IPv4 network of all containers' networks, such as 172.16.0.0/12; empty for dockerd's own choice.
	ContainerNetwork string
}

// From has the file, or the kernel command line, that set each of the settings that are not defaults.
type From map[string]string

// WriteTable prints the settings in the columns of a tabwriter. Without any it prints nothing.
func (f From) WriteTable(w io.Writer) {
	if len(f) > 0 {
		_, _ = fmt.Fprintln(w, "\nSETTING\tSET BY")
	}
	for _, key := range slices.Sorted(maps.Keys(f)) {
		_, _ = fmt.Fprintf(w, "%s\t%s\n", key, f[key])
	}
}

const (
	// ImageFile is the image's configuration file, in the initramfs or on the root.
	ImageFile = "/etc/arcinit.toml"
	// DefaultFile is the host's configuration file, unless the command line names another.
	DefaultFile = "/arcbox/etc/arcinit.toml"
)

const defaultGrace = 15 * time.Second

// Default returns the configuration of a host that configures nothing.
func Default() Config {
	return Config{
		From:          From{},
		Log:           slog.LevelInfo,
		Agent:         Service{Name: "agent", Argv: []string{"/arcbox/bin/arcbox-agent"}, Restart: "always", Process: Process{Kill: "process", Grace: defaultGrace}},
		Nameservers:   []netip.Addr{netip.MustParseAddr("127.0.0.1")},
		Sysctls:       map[string]Sysctl{},
		SandboxSubnet: netip.MustParsePrefix(defaultSandboxSubnet),
		Grace:         defaultGrace,
		Limit:         25 * time.Second,
		// Most VMMs end at a guest's reboot, and do not notice a halt.
		WithoutPowerOff: "reboot",
		Shares:          defaultShares(),
		Tmpfs:           defaultTmpfs(),
		Otherwise:       "poweroff",
		ClockSource:     "auto",
		ClockStep:       time.Second,
	}
}

// Load returns the configuration: the defaults, then the image's file, then the host's file, which the command line may name
// (else DefaultFile), then the command line. readFile reads a file of the guest (os.ReadFile). Only a file that is named has
// to be there. The Config is usable whatever the error, which joins one error for each refused value.
func Load(cmdline CommandLine, readFile func(string) ([]byte, error)) (Config, error) {
	c := Default()
	_ = c.mergeCommandLine(cmdline) // for the file's path; the rest comes last
	named := c.file
	c = Default()
	c.file = named
	var errs []error
	for _, path := range []string{ImageFile, cmp.Or(named, DefaultFile)} {
		switch text, err := readFile(path); {
		case err == nil:
			errs = append(errs, c.mergeFile(path, Text(text)))
		case !errors.Is(err, fs.ErrNotExist) || path == named:
			errs = append(errs, fmt.Errorf("cannot read the configuration file; ignored: %w", err))
		}
	}
	errs = append(errs, c.finish(), c.mergeCommandLine(cmdline))
	return c, errors.Join(errs...)
}

// finish completes what depends on more than one file.
func (c *Config) finish() error {
	if c.Agent.GraceText == "" {
		c.Agent.Grace = c.Grace
	}
	for _, h := range c.handlers {
		c.Handlers = append(c.Handlers, &h.Handler)
	}
	c.handlers = nil
	return c.orderServices()
}

// setting is a value that a string configures.
type setting struct {
	key       string             // in arcinit.toml; empty if the file cannot set the value
	text      *string            // in the file; nil if the file does not set the value
	parameter string             // of the command line; empty if it cannot set the value
	set       func(string) error // parses a string into the Config
}

// settings returns what strings configure, with the strings of a file.
func (c *Config) settings(f *file) []setting {
	return []setting{
		{"", nil, "arcbox.config", checked(&c.file, checkPath)},
		// With any value: today's host gives the path of a socket.
		{"debug_console", nil, "arcbox.debug_console", func(string) error { c.DebugConsole = true; return nil }},
		{"hostname", f.Hostname, "arcbox.hostname", checked(&c.Hostname, CheckHostname)},
		{"log", f.Log, "arcbox.log", parsed(&c.Log, parseLevel)},
		{"agent.path", f.Agent.Path, "arcbox.agent", checked(&c.Agent.Argv[0], checkPath)},
		{"", nil, "arcbox.notify", parsed(&c.Notify, notify.Parse)},
		{"network.primary", f.Network.Primary, "arcbox.primary", checked(&c.Primary, checkNIC)},
		{"network.bridge", f.Network.Bridge, "arcbox.bridge", checked(&c.Bridge, checkNIC)},
		{"shutdown.grace", f.Shutdown.Grace, "", parsed(&c.Grace, parseDuration)},
		{"shutdown.limit", f.Shutdown.Limit, "", parsed(&c.Limit, parseLimit)},
		{"shutdown.without_poweroff", f.Shutdown.WithoutPowerOff, "", checked(&c.WithoutPowerOff, oneOf("reboot", "halt"))},
		{"boot.otherwise", f.Boot.Otherwise, "", checked(&c.Otherwise, oneOf("poweroff", "reboot", "halt"))},
		{"docker.container_network", f.Docker.ContainerNetwork, "arcbox.container_network", checked(&c.ContainerNetwork, checkContainerNetwork)},
		{"clock.source", f.Clock.Source, "", checked(&c.ClockSource, checkClockSource)},
		{"clock.step", f.Clock.Step, "", parsed(&c.ClockStep, parseLimit)},
		{"memory.zram", f.Memory.Zram, "", parsed(&c.Zram, parsePercent)},
		{"ca.certificates", f.CA.Certificates, "", checked(&c.Certificates, checkPath)},
	}
}

// parsed returns a function that parses what a source has into value. If that is
// wrong, the function leaves value alone, and its error says which value is used.
func parsed[S, T any](value *T, parse func(S) (T, error)) func(S) error {
	return func(s S) error {
		v, err := parse(s)
		if err == nil {
			*value = v
			return nil
		}
		if used := fmt.Sprint(*value); used != "" {
			return fmt.Errorf("%w; using %s", err, used)
		}
		return fmt.Errorf("%w; ignored", err)
	}
}

// checked is parsed for a string that is used as it is.
func checked(value *string, check func(string) error) func(string) error {
	return parsed(value, func(s string) (string, error) { return s, check(s) })
}

// refusals collects an error for each refused value of a source.
type refusals struct {
	source string
	keys   []string
	entry  string // of a list, which is being added
	errs   []error
}

// add records that a value was refused, if err says so.
func (r *refusals) add(key string, err error) {
	if err != nil {
		r.keys = append(r.keys, key)
		r.errs = append(r.errs, fmt.Errorf("%s: %s: %w", r.source, key, err))
	}
}

// ignore records that a key is ignored, if err says why.
func (r *refusals) ignore(key string, err error) {
	if err != nil {
		r.add(key, fmt.Errorf("%w; ignored", err))
	}
}
