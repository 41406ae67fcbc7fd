package config

import (
	"errors"
	"strings"

	"github.com/arcinit/arcinit/internal/notify"
)

// CommandLine is the kernel's command line, split into its parameters.
type CommandLine []Param

// Param is one parameter. Flag is set if it has no "=".
type Param struct {
	Key, Value string
	Flag       bool
}

// ParseCommandLine splits a command line as the kernel does: at blanks outside
// double quotes. The quotes may be around the value or the whole parameter
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

// unquote removes one pair of double quotes around s. Like the kernel, it keeps
// inner ones.
func unquote(s string) string {
	if !strings.HasPrefix(s, `"`) {
		return s
	}
	return strings.TrimSuffix(s[1:], `"`)
}

// Lookup returns the value of the last parameter with that key: to the kernel,
// too, the last one counts.
func (l CommandLine) Lookup(key string) (value string, ok bool) {
	for _, p := range l {
		if p.Key == key {
			value, ok = p.Value, true
		}
	}
	return value, ok
}

// file returns the path of the host's configuration file, and whether the command
// line names that file (arcbox.config=), so that it must exist.
func (l CommandLine) file() (path string, named bool) {
	if v, ok := l.Lookup("arcbox.config"); ok && checkPath(v) == nil {
		return v, true
	}
	return DefaultFile, false
}

// Config returns the configuration of the command line alone, for the time before
// any file can be read. It ignores refused values: Load returns their errors.
func (l CommandLine) Config() Config {
	c := Default()
	_ = c.mergeCommandLine(l)
	return c
}

// mergeCommandLine sets what the arcbox.* parameters configure. A wrong value
// leaves c as it was. The error joins one for each wrong value and unknown key.
func (c *Config) mergeCommandLine(l CommandLine) error {
	refused := refusals{source: "kernel command line"}
	for _, p := range l {
		if !strings.HasPrefix(p.Key, "arcbox.") {
			continue
		}
		var err error
		switch p.Key {
		case "arcbox.config":
			file, _ := l.file()
			err = take(&file, &p.Value, checked(checkPath))
		case "arcbox.hostname":
			err = take(&c.Hostname, &p.Value, checked(CheckHostname))
		case "arcbox.agent":
			err = take(&c.Agent, &p.Value, checked(checkPath))
		case "arcbox.log":
			err = take(&c.Log, &p.Value, parseLevel)
		case "arcbox.notify":
			err = take(&c.Notify, &p.Value, notify.Parse)
		case "arcbox.primary":
			err = take(&c.Primary, &p.Value, checked(checkNIC))
		case "arcbox.bridge":
			err = take(&c.Bridge, &p.Value, checked(checkNIC))
		case "arcbox.debug_console":
			c.DebugConsole = p.Flag || p.Value == "1" || p.Value == "true"
		default:
			refused.ignore(p.Key, errors.New("unknown key"))
		}
		refused.add(p.Key, err)
	}
	return errors.Join(refused.errs...)
}
