package config

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"strings"
	"time"

	"github.com/BurntSushi/toml"
)

// file is arcinit.toml.
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

// mergeFile takes over what the configuration file says. A file that is not
// TOML, or has a value of the wrong type, is refused as a whole, so that half
// of an edit never holds; a value out of range is refused alone.
func (c *Config) mergeFile(path string, mustExist bool, readFile func(string) ([]byte, error)) error {
	text, err := readFile(path)
	if errors.Is(err, fs.ErrNotExist) && !mustExist {
		return nil
	}
	if err != nil {
		return fmt.Errorf("configuration not read, defaults used: %w", err)
	}
	return c.merge(path, string(text))
}

func (c *Config) merge(path, text string) error {
	var f file
	meta, err := toml.Decode(text, &f)
	if err != nil {
		return fmt.Errorf("%s: refused, defaults used: %w", path, located(err))
	}
	var errs []error
	check := func(key string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %s: %w", path, key, err))
		}
	}
	for _, key := range meta.Undecoded() {
		if name := key.String(); !strings.HasPrefix(name, "docker.daemon.") && key[0] != "sysctl" {
			check(name, errors.New("unknown key"))
		}
	}
	if f.Hostname != nil {
		check("hostname", c.setHostname(*f.Hostname))
	}
	if f.Log != nil {
		check("log", c.setLog(*f.Log))
	}
	if f.Agent.Path != nil {
		check("agent.path", c.setAgent(*f.Agent.Path))
	}
	if f.DNS.Nameservers != nil {
		check("dns.nameservers", c.setNameservers(f.DNS.Nameservers))
	}
	c.Network.merge(f.Network, check)
	if f.Shutdown.Grace != nil {
		check("shutdown.grace", c.setGrace(*f.Shutdown.Grace))
	}
	if f.Shutdown.WithoutPowerOff != nil {
		check("shutdown.without_poweroff", c.setWithoutPowerOff(*f.Shutdown.WithoutPowerOff))
	}
	for _, err := range c.setServices(f.Service) {
		check("service", err)
	}
	for _, err := range c.setHandlers(f.Binfmt) {
		check("binfmt", err)
	}
	for _, err := range c.setSysctls(f.Sysctl) {
		check("sysctl", err)
	}
	c.DockerDaemon = f.Docker.Daemon
	return errors.Join(errs...)
}

func (c *Config) setNameservers(values []string) error {
	var addrs []netip.Addr
	for _, v := range values {
		addr, err := netip.ParseAddr(v)
		if err != nil {
			return fmt.Errorf("%q is not an IP address", v)
		}
		addrs = append(addrs, addr)
	}
	if len(addrs) == 0 {
		return errors.New("no address in it")
	}
	c.Nameservers = addrs
	return nil
}

func (c *Config) setGrace(v string) error {
	d, err := time.ParseDuration(v)
	if err != nil || d < 0 {
		return fmt.Errorf("%q is not a duration such as \"25s\"", v)
	}
	c.Grace = d
	return nil
}

func (c *Config) setWithoutPowerOff(v string) error {
	if v != "reboot" && v != "halt" {
		return fmt.Errorf("%q is not reboot or halt", v)
	}
	c.WithoutPowerOff = v
	return nil
}

// CheckFile reports all that Load would refuse in the configuration file text,
// which came from path.
func CheckFile(path string, text []byte) error {
	c := Default()
	return c.merge(path, string(text))
}

// located puts the line into an error of the TOML decoder that only carries it
// beside its message; type errors have it in theirs.
func located(err error) error {
	var parse toml.ParseError
	if errors.As(err, &parse) {
		return fmt.Errorf("line %d: %s", parse.Position.Line, parse.Message)
	}
	return err
}
