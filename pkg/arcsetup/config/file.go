package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
	"github.com/arcinit/arcinit/internal/binfmt"
)

// file is arcinit.toml. A key that is absent has a nil pointer.
type file struct {
	Hostname, Log *string
	Agent         struct{ Path, Grace, Kill *string }
	DNS           struct{ Nameservers []string }
	Network       struct {
		Network         // what needs no check
		Primary, Bridge *string
		NIC             []struct {
			NIC
			Address *string
		}
	}
	Docker   struct{ Daemon map[string]any }
	Sysctl   map[string]any
	Shutdown struct {
		Grace, Limit    *string
		WithoutPowerOff *string `toml:"without_poweroff"`
	}
	Service []Service
	Binfmt  []struct {
		binfmt.Handler
		Magic, Mask string // spelled as for the kernel, with \xHH for a byte
	}
}

// mergeFile sets what the text of the configuration file path configures. A file that is not TOML, or has a value of
// the wrong type, is refused as a whole, so that half of an edit is never used. Any other wrong value is refused alone.
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
	c.Network, c.DockerDaemon = f.Network.Network, f.Docker.Daemon
	for _, s := range c.settings(&f) {
		if s.text != nil {
			refused.add(s.key, s.set(*s.text))
		}
	}
	if f.Agent.Grace == nil {
		c.Agent.Grace = c.Grace
	}
	if f.DNS.Nameservers != nil {
		refused.add("dns.nameservers", parsed(&c.Nameservers, parseNameservers)(f.DNS.Nameservers))
	}
	for i, e := range f.Network.NIC {
		refused.ignore(entry("network.nic", i, e.NIC.NIC), c.addNIC(e.NIC, e.Address))
	}
	c.setServices(f.Service, &refused)
	for i, e := range f.Binfmt {
		refused.ignore(entry("binfmt", i, e.Name), c.addHandler(e.Handler, e.Magic, e.Mask))
	}
	c.setSysctls("", f.Sysctl, &refused)
	return errors.Join(refused.errs...)
}

// CheckFile returns the errors that Load would return for the configuration file path with this text.
func CheckFile(path string, text []byte) error {
	c := Default()
	return c.mergeFile(path, Text(text))
}

// addHandler adds the handler h with this magic and mask, unless it is invalid or its name is taken.
func (c *Config) addHandler(h binfmt.Handler, magic, mask string) (err error) {
	if h.Magic, err = binfmt.Unescape(magic); err != nil {
		return err
	}
	if h.Mask, err = binfmt.Unescape(mask); err != nil {
		return err
	}
	taken := slices.ContainsFunc(c.Handlers, func(other *binfmt.Handler) bool { return other.Name == h.Name })
	if taken || h.Name == "rosetta" || h.Name == "FEX-x86_64" { // arcinit registers these two
		return errors.New("another handler has this name")
	}
	if err := h.Check(); err != nil {
		return err
	}
	c.Handlers = append(c.Handlers, &h)
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
