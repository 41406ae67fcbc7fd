// Package config reads what the host configures: the kernel command line, arcinit.toml, and the sandbox
// subnet in the VMM's own file. It parses and validates. It must not know what the values are used for.
//
// No error here is fatal. Each function returns a usable value, and an error for each value that it
// refused: where that value is, what was expected, and what is used instead.
package config

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"time"

	"github.com/arcinit/arcinit/internal/binfmt"
	"github.com/arcinit/arcinit/internal/notify"
)

// Config is what a host can configure. The kernel command line overrides arcinit.toml, which overrides the defaults.
type Config struct {
	file         string       // the configuration file, if the command line names one
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
}

// DefaultFile is the host's configuration file, unless the command line names another.
const DefaultFile = "/arcbox/etc/arcinit.toml"

const defaultGrace = 15 * time.Second

// Default returns the configuration of a host that configures nothing.
func Default() Config {
	return Config{
		Log:           slog.LevelInfo,
		Agent:         Service{Name: "agent", Argv: []string{"/arcbox/bin/arcbox-agent"}, Restart: "always", Kill: "process", Grace: defaultGrace},
		Nameservers:   []netip.Addr{netip.MustParseAddr("127.0.0.1")},
		Sysctls:       map[string]Sysctl{},
		SandboxSubnet: netip.MustParsePrefix(defaultSandboxSubnet),
		Grace:         defaultGrace,
		Limit:         25 * time.Second,
		// Most VMMs end at a guest's reboot, and do not notice a halt.
		WithoutPowerOff: "reboot",
	}
}

// Load returns the configuration: the defaults, then the file that the command line names (else
// DefaultFile, which may be absent), then the command line. readFile reads a file of the guest
// (os.ReadFile). The Config is usable whatever the error, which joins one error for each refused value.
func Load(cmdline CommandLine, readFile func(string) ([]byte, error)) (Config, error) {
	c := Default()
	named := cmdline.Config().file
	path := cmp.Or(named, DefaultFile)
	text, err := readFile(path)
	switch {
	case err == nil:
		err = c.mergeFile(path, Text(text))
	case errors.Is(err, fs.ErrNotExist) && named == "":
		err = nil
	default:
		err = fmt.Errorf("cannot read the configuration file; using the defaults: %w", err)
	}
	return c, errors.Join(err, c.mergeCommandLine(cmdline))
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
		{"hostname", f.Hostname, "arcbox.hostname", checked(&c.Hostname, CheckHostname)},
		{"log", f.Log, "arcbox.log", parsed(&c.Log, parseLevel)},
		{"agent.path", f.Agent.Path, "arcbox.agent", checked(&c.Agent.Argv[0], checkPath)},
		{"", nil, "arcbox.notify", parsed(&c.Notify, notify.Parse)},
		{"network.primary", f.Network.Primary, "arcbox.primary", checked(&c.Primary, checkNIC)},
		{"network.bridge", f.Network.Bridge, "arcbox.bridge", checked(&c.Bridge, checkNIC)},
		{"shutdown.grace", f.Shutdown.Grace, "", parsed(&c.Grace, parseDuration)},
		{"shutdown.limit", f.Shutdown.Limit, "", parsed(&c.Limit, parseLimit)},
		{"agent.grace", f.Agent.Grace, "", parsed(&c.Agent.Grace, parseDuration)},
		{"agent.kill", f.Agent.Kill, "", checked(&c.Agent.Kill, oneOf("process", "session"))},
		{"shutdown.without_poweroff", f.Shutdown.WithoutPowerOff, "", checked(&c.WithoutPowerOff, oneOf("reboot", "halt"))},
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
	errs   []error
}

// add records that a value was refused, if err says so.
func (r *refusals) add(key string, err error) {
	if err != nil {
		r.errs = append(r.errs, fmt.Errorf("%s: %s: %w", r.source, key, err))
	}
}

// ignore records that a key is ignored, if err says why.
func (r *refusals) ignore(key string, err error) {
	if err != nil {
		r.add(key, fmt.Errorf("%w; ignored", err))
	}
}

// entry is the key of a list's entry, which has an index from 0 and a name.
func entry(list string, index int, name string) string {
	return fmt.Sprintf("%s %d (%s)", list, index+1, name)
}
