package config

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
	"github.com/arcinit/arcinit/internal/binfmt"
)

// file is arcinit.toml. A key that is absent has a nil pointer, or what an earlier file has set.
type file struct {
	Host          struct{ Allow []string }
	Hostname, Log *string
	Agent         struct {
		Process
		Path *string
	}
	DNS     struct{ Nameservers []string }
	Network struct {
		Network         // what needs no check
		Primary, Bridge *string
		NIC             []NIC
	}
	Docker struct {
		Daemon           map[string]any
		ContainerNetwork *string `toml:"container_network"`
	}
	Sysctl   map[string]any
	Shutdown struct {
		Grace, Limit    *string
		WithoutPowerOff *string `toml:"without_poweroff"`
	}
	Service []Service
	Binfmt  []handler
	Share   []Share
	Tmpfs   []Tmpfs
	Disk    []Disk
	Boot    struct {
		Require   []string
		Otherwise *string
	}
	Clock  struct{ Source, Step *string }
	Memory struct{ Zram *string }
	CA     struct{ Certificates *string }
}

// handler is a handler as the file spells it: as for the kernel, with \xHH for a byte.
type handler struct {
	binfmt.Handler
	Magic, Mask string
}

func (h *handler) complete() (err error) {
	var errMask error
	h.Handler.Magic, err = binfmt.Unescape(h.Magic)
	h.Handler.Mask, errMask = binfmt.Unescape(h.Mask)
	if err := cmp.Or(err, errMask); err != nil {
		return err
	}
	if h.Name == "rosetta" || h.Name == "FEX-x86_64" {
		return errors.New("arcinit's own handler has this name")
	}
	return h.Check()
}

// mergeFile sets what the text of the configuration file path configures. A file that is not TOML, or has a value of
// the wrong type, is refused as a whole, so that half of an edit is never used. Any other wrong value is refused alone.
func (c *Config) mergeFile(path, text string) error {
	var f file
	f.Network.Network, f.Agent.Process = c.Network, c.Agent.Process
	before := f
	f.Agent.Env = maps.Clone(f.Agent.Env)
	meta, err := toml.Decode(text, &f)
	if err != nil {
		return fmt.Errorf("%s: cannot parse this file; ignored: %w", path, located(err))
	}
	refused := refusals{source: path}
	for _, key := range meta.Undecoded() {
		if name := key.String(); !strings.HasPrefix(name, "docker.daemon.") && key[0] != "sysctl" {
			refused.ignore(name, errors.New("unknown key"))
		}
	}
	if path != ImageFile {
		c.narrow(&f, before, &refused)
	}
	for _, name := range f.Host.Allow {
		refused.add("host.allow", oneOf(sections()...)(name))
	}
	if f.Host.Allow != nil {
		c.allow = f.Host.Allow
	}
	c.Network, c.Agent.Process = f.Network.Network, f.Agent.Process
	c.Agent.check(before.Agent.Process, func(key string, err error) { refused.add("agent."+key, err) })
	c.DockerDaemon = Merge(c.DockerDaemon, f.Docker.Daemon, nil)
	for _, s := range c.settings(&f) {
		if s.text != nil {
			refused.add(s.key, s.set(*s.text))
		}
	}
	if f.Boot.Require != nil {
		c.Require = f.Boot.Require
	}
	if f.DNS.Nameservers != nil {
		refused.add("dns.nameservers", parsed(&c.Nameservers, parseNameservers)(f.DNS.Nameservers))
	}
	c.From.add(path, meta, refused.keys)
	addAll(c, &refused, "network.nic", &c.NICs, f.Network.NIC, func(n NIC) string { return strings.ToLower(n.NIC) }, c.checkNIC)
	addAll(c, &refused, "service", &c.Services, f.Service, func(s Service) string { return s.Name }, func(s *Service) error { return c.checkService(s, &refused) })
	addAll(c, &refused, "binfmt", &c.handlers, f.Binfmt, func(h handler) string { return h.Name }, (*handler).complete)
	addAll(c, &refused, "share", &c.Shares, f.Share, func(s Share) string { return s.Tag }, func(s *Share) error { return c.checkShare(s, path) })
	addAll(c, &refused, "tmpfs", &c.Tmpfs, f.Tmpfs, func(t Tmpfs) string { return t.Path }, (*Tmpfs).complete)
	addAll(c, &refused, "disk", &c.Disks, f.Disk, func(d Disk) string { return d.Device }, (*Disk).complete)
	c.setSysctls("", f.Sysctl, &refused)
	return errors.Join(refused.errs...)
}

// errRemoved is the error of a valid entry that only removes another.
var errRemoved = errors.New("removed")

// addAll completes the entries of a list and adds them to all, in the place of those with the same name.
func addAll[E any](c *Config, refused *refusals, list string, all *[]E, entries []E, nameOf func(E) string, complete func(*E) error) {
	for i, e := range entries {
		name := nameOf(e)
		refused.entry = fmt.Sprintf("%s %d (%s)", list, i+1, name)
		err := complete(&e)
		if c.From[list+" "+name] == refused.source {
			err = errors.New("an entry before it has this name")
		}
		if err != nil && err != errRemoved {
			refused.ignore(refused.entry, err)
			continue
		}
		c.From[list+" "+name] = refused.source
		*all = slices.DeleteFunc(slices.Clone(*all), func(other E) bool { return nameOf(other) == name })
		if err == nil {
			*all = append(*all, e)
		}
	}
}

// add records that the file path has set its keys, except those in lists of tables and those that were refused.
func (f From) add(path string, meta toml.MetaData, refused []string) {
	for _, key := range meta.Keys() {
		isSet := meta.Type(key...) != "Hash"
		for i := range key {
			isSet = isSet && meta.Type(key[:i+1]...) != "ArrayHash" && !slices.Contains(refused, key[:i+1].String())
		}
		if isSet {
			f[key.String()] = path
		}
	}
}

// sections are the names of a file's tables and of its keys outside of tables.
func sections() (names []string) {
	for field := range reflect.TypeFor[file]().Fields() {
		names = append(names, strings.ToLower(field.Name))
	}
	return names
}

// narrow gives the sections of f that the host's file may not set the values that they had before.
func (c *Config) narrow(f *file, before file, refused *refusals) {
	for i, name := range sections() {
		if name != "host" && (c.allow == nil || slices.Contains(c.allow, name)) {
			continue
		}
		if now, old := reflect.ValueOf(f).Elem().Field(i), reflect.ValueOf(before).Field(i); !reflect.DeepEqual(now.Interface(), old.Interface()) {
			now.Set(old)
			refused.ignore(name, fmt.Errorf("only %s may set this", ImageFile))
		}
	}
}

// located adds the line to a syntax error of the TOML decoder, whose message does not have it. The message of a type error does.
func located(err error) error {
	var parse toml.ParseError
	if errors.As(err, &parse) {
		return fmt.Errorf("line %d: %s", parse.Position.Line, parse.Message)
	}
	return err
}

// Merge puts over into base, object by object, and returns base. Of two values that are not both objects, over's wins;
// replaced, if not nil, is called if they differ, with the path of keys.
func Merge(base, over map[string]any, replaced func(key string, old, value any)) map[string]any {
	if base == nil {
		return over
	}
	if replaced == nil {
		replaced = func(string, any, any) {}
	}
	for _, k := range slices.Sorted(maps.Keys(over)) {
		old, there := base[k]
		inner, oldIsObject := old.(map[string]any)
		if sub, isObject := over[k].(map[string]any); isObject && oldIsObject {
			Merge(inner, sub, func(key string, old, value any) { replaced(k+"."+key, old, value) })
			continue
		}
		if there && !reflect.DeepEqual(old, over[k]) {
			replaced(k, old, over[k])
		}
		base[k] = over[k]
	}
	return base
}
