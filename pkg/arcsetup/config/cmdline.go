package config

import (
	"errors"
	"fmt"
	"strings"
)

// CommandLine is the kernel's command line, split into its parameters.
type CommandLine []Param

// Param is one parameter. Flag says that it came without a value.
type Param struct {
	Key, Value string
	Flag       bool
}

// ParseCommandLine splits a command line as the kernel does: at blanks outside
// double quotes, which may stand around the value or the whole parameter
// (Documentation/admin-guide/kernel-parameters.rst).
func ParseCommandLine(s string) CommandLine {
	var params CommandLine
	for s = strings.TrimLeft(s, blanks); s != ""; s = strings.TrimLeft(s, blanks) {
		quoted := false
		end := strings.IndexFunc(s, func(c rune) bool {
			if c == '"' {
				quoted = !quoted
			}
			return !quoted && strings.ContainsRune(blanks, c)
		})
		if end < 0 {
			end = len(s)
		}
		key, value, hasValue := strings.Cut(unquote(s[:end]), "=")
		params = append(params, Param{Key: key, Value: unquote(value), Flag: !hasValue})
		s = s[end:]
	}
	return params
}

const blanks = " \t\n\v\f\r"

// unquote drops one pair of double quotes around s; the kernel keeps inner ones.
func unquote(s string) string {
	if !strings.HasPrefix(s, `"`) {
		return s
	}
	return strings.TrimSuffix(s[1:], `"`)
}

// Lookup returns the value of the last parameter of that name, as the kernel
// lets the last one win.
func (l CommandLine) Lookup(key string) (value string, ok bool) {
	for _, p := range l {
		if p.Key == key {
			value, ok = p.Value, true
		}
	}
	return value, ok
}

// File returns the path of the host's configuration, and whether it was named
// (arcbox.config=) and therefore has to be there.
func (l CommandLine) File() (path string, named bool) {
	if v, ok := l.Lookup("arcbox.config"); ok && checkPath(v) == nil {
		return v, true
	}
	return DefaultFile, false
}

// Config is what the command line alone says, before any file can be read. What
// it would complain of, Load complains of.
func (l CommandLine) Config() Config {
	c := Default()
	_ = c.mergeCommandLine(l)
	return c
}

// mergeCommandLine takes over the arcbox.* parameters. A value that cannot be
// used leaves what was there; an unknown key is passed over; both are named in
// the error.
func (c *Config) mergeCommandLine(l CommandLine) error {
	var errs []error
	for _, p := range l {
		if !strings.HasPrefix(p.Key, "arcbox.") {
			continue
		}
		var err error
		switch p.Key {
		case "arcbox.config":
			err = checkPath(p.Value)
		case "arcbox.hostname":
			err = c.setHostname(p.Value)
		case "arcbox.agent":
			err = c.setAgent(p.Value)
		case "arcbox.log":
			err = c.setLog(p.Value)
		case "arcbox.notify":
			err = c.setNotify(p.Value)
		case "arcbox.primary":
			err = setNIC(&c.Primary, p.Value)
		case "arcbox.bridge":
			err = setNIC(&c.Bridge, p.Value)
		case "arcbox.debug_console":
			c.DebugConsole = p.Flag || p.Value == "1" || p.Value == "true"
		default:
			err = errors.New("unknown key")
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("kernel command line: %s: %w", p.Key, err))
		}
	}
	return errors.Join(errs...)
}
