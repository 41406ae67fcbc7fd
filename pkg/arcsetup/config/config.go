// Package config reads what the host configures: the kernel command line,
// arcinit.toml, and the sandbox subnet in the VMM's own file. It parses and
// validates. It must not know what the values are used for.
//
// No error here is fatal. Each function returns a usable value, and an error for
// each value that it refused: where that value is, what was expected, and what
// is used instead.
package config

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"github.com/arcinit/arcinit/internal/binfmt"
	"github.com/arcinit/arcinit/internal/notify"
)

// Config is what a host can configure. The kernel command line overrides
// arcinit.toml, which overrides the defaults.
type Config struct {
	// Hostname replaces the kernel's host name, unless it is empty.
	Hostname string
	// Log is the lowest level that is logged.
	Log slog.Level
	// Agent is the path of the agent's program.
	Agent string
	// DebugConsole asks for a root shell on the console.
	DebugConsole bool
	// Nameservers are the servers in /etc/resolv.conf.
	Nameservers []netip.Addr
	Network
	// DockerDaemon is merged into /etc/docker/daemon.json.
	DockerDaemon map[string]any
	// Sysctls are kernel parameters to set, by path below /proc/sys.
	Sysctls map[string]string
	// Grace is how long services have to end at shutdown.
	Grace time.Duration
	// WithoutPowerOff is what to do where the kernel cannot power off: reboot or
	// halt.
	WithoutPowerOff string
	// Notify is where the host listens for the guest's state; the zero Address
	// is nowhere.
	Notify notify.Address
	// Services run beside the agent, in the order of their start.
	Services []Service
	// Handlers are interpreters of foreign programs, beside those that arcinit
	// registers itself.
	Handlers []*binfmt.Handler
}

// DefaultFile is the host's configuration file, unless the command line names
// another.
const DefaultFile = "/arcbox/etc/arcinit.toml"

// Default returns the configuration of a host that configures nothing.
func Default() Config {
	return Config{
		Log:         slog.LevelInfo,
		Agent:       "/arcbox/bin/arcbox-agent",
		Nameservers: []netip.Addr{netip.MustParseAddr("127.0.0.1")},
		Grace:       25 * time.Second,
		// Most VMMs end at a guest's reboot, and do not notice a halt.
		WithoutPowerOff: "reboot",
	}
}

// Load returns the configuration: the defaults, then the file that the command
// line names (else DefaultFile, which may be absent), then the command line.
// readFile reads a file of the guest (os.ReadFile). The Config is usable whatever
// the error, which joins one error for each refused value.
func Load(cmdline CommandLine, readFile func(string) ([]byte, error)) (Config, error) {
	c := Default()
	path, named := cmdline.file()
	text, err := readFile(path)
	switch {
	case err == nil:
		err = c.mergeFile(path, string(text))
	case errors.Is(err, fs.ErrNotExist) && !named:
		err = nil
	default:
		err = fmt.Errorf("cannot read the configuration file; using the defaults: %w", err)
	}
	return c, errors.Join(err, c.mergeCommandLine(cmdline))
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

// ignore records that a key, or an entry of a list, is ignored.
func (r *refusals) ignore(key string, err error) { r.add(key, fmt.Errorf("%w; ignored", err)) }

// entry is the key of a list's entry, which has an index from 0 and a name.
func entry(list string, index int, name string) string {
	return fmt.Sprintf("%s %d (%s)", list, index+1, name)
}

// take parses text into value. It leaves value alone if there is no text or the
// text is wrong, and then says which value is used.
func take[T any](value *T, text *string, parse func(string) (T, error)) error {
	if text == nil {
		return nil
	}
	v, err := parse(*text)
	if err == nil {
		*value = v
		return nil
	}
	if used := fmt.Sprint(*value); used != "" {
		return fmt.Errorf("%w; using %s", err, used)
	}
	return fmt.Errorf("%w; ignored", err)
}

// checked makes a parser of a check.
func checked(check func(string) error) func(string) (string, error) {
	return func(v string) (string, error) { return v, check(v) }
}

// FallbackHostname is the name of a guest that got none from the kernel or the
// host.
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
			return fmt.Errorf("host name %q: a label is empty, longer than 63 bytes, or has a hyphen at its end", name)
		}
		if strings.Trim(label, letters+digits+"-") != "" {
			return fmt.Errorf("host name %q: only letters, digits and hyphens are allowed", name)
		}
	}
	return nil
}

const (
	letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	digits  = "0123456789"
)

// checkPath reports why p cannot be the path of a file in the guest.
func checkPath(p string) error {
	if !strings.HasPrefix(p, "/") {
		return fmt.Errorf("%q is not an absolute path", p)
	}
	return nil
}

func parseLevel(s string) (level slog.Level, err error) {
	if level.UnmarshalText([]byte(s)) != nil {
		err = fmt.Errorf("log level %q is not debug, info, warn or error", s)
	}
	return level, err
}
