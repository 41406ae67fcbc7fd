package config

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/BurntSushi/toml"
)

// file is arcinit.toml. A key that is absent has a nil pointer.
type file struct {
	Hostname *string
	Log      *string
	Agent    struct{ Path *string }
	DNS      struct{ Nameservers []string }
	Network  networkFile
	Docker   struct{ Daemon map[string]any }
	Sysctl   map[string]any
	Shutdown struct {
		Grace           *string
		WithoutPowerOff *string `toml:"without_poweroff"`
	}
	Service []Service
	Binfmt  []binfmtFile
}

// mergeFile sets what the text of the configuration file path configures. A file
// that is not TOML, or has a value of the wrong type, is refused as a whole, so
// that half of an edit is never used. Any other wrong value is refused alone.
func (c *Config) mergeFile(path, text string) error {
	var f file
	meta, err := toml.Decode(text, &f)
	if err != nil {
		return fmt.Errorf("%s: cannot parse this file; using the defaults: %w", path, located(err))
	}
	refused := refusals{source: path}
	for _, key := range meta.Undecoded() {
		if name := key.String(); !strings.HasPrefix(name, "docker.daemon.") && key[0] != "sysctl" {
			refused.ignore(name, errors.New("unknown key"))
		}
	}
	refused.add("hostname", take(&c.Hostname, f.Hostname, checked(CheckHostname)))
	refused.add("log", take(&c.Log, f.Log, parseLevel))
	refused.add("agent.path", take(&c.Agent, f.Agent.Path, checked(checkPath)))
	refused.add("shutdown.grace", take(&c.Grace, f.Shutdown.Grace, parseGrace))
	refused.add("shutdown.without_poweroff", take(&c.WithoutPowerOff, f.Shutdown.WithoutPowerOff, checked(checkPowerOff)))
	if f.DNS.Nameservers != nil {
		c.setNameservers(f.DNS.Nameservers, &refused)
	}
	c.setNetwork(f.Network, &refused)
	c.setServices(f.Service, &refused)
	c.setHandlers(f.Binfmt, &refused)
	c.setSysctls("", f.Sysctl, &refused)
	c.DockerDaemon = f.Docker.Daemon
	return errors.Join(refused.errs...)
}

// CheckFile returns the errors that Load would return for the configuration file
// path with this text.
func CheckFile(path string, text []byte) error {
	c := Default()
	return c.mergeFile(path, string(text))
}

func (c *Config) setNameservers(values []string, refused *refusals) {
	addrs := make([]netip.Addr, len(values))
	err := errors.New("the list is empty")
	for i, v := range values {
		if addrs[i], err = netip.ParseAddr(v); err != nil {
			err = fmt.Errorf("%q is not an IP address", v)
			break
		}
	}
	if err != nil {
		refused.add("dns.nameservers", fmt.Errorf("%w; using %v", err, c.Nameservers))
		return
	}
	c.Nameservers = addrs
}

func parseGrace(v string) (time.Duration, error) {
	d, err := time.ParseDuration(v)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%q is not a duration such as \"25s\"", v)
	}
	return d, nil
}

func checkPowerOff(v string) error { return checkWord(v, "reboot", "halt") }

// checkWord reports that v is none of the words.
func checkWord(v string, words ...string) error {
	if !slices.Contains(words, v) {
		return fmt.Errorf("%q is not one of %s", v, strings.Join(words, ", "))
	}
	return nil
}

// located adds the line to a syntax error of the TOML decoder, whose message does
// not have it. The message of a type error does.
func located(err error) error {
	var parse toml.ParseError
	if errors.As(err, &parse) {
		return fmt.Errorf("line %d: %s", parse.Position.Line, parse.Message)
	}
	return err
}
