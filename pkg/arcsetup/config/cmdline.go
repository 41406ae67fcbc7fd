package config

import (
	"errors"
	"slices"
	"strings"
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

// Lookup returns the value of the last parameter with that key, as the kernel does.
func (l CommandLine) Lookup(key string) (value string, ok bool) {
	for _, p := range slices.Backward(l) {
		if p.Key == key {
			return p.Value, true
		}
	}
	return "", false
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
	settings := c.settings(&file{})
	for _, p := range l {
		if p.Key == "arcbox.debug_console" {
			c.DebugConsole = p.Flag || p.Value == "1" || p.Value == "true"
		} else if i := slices.IndexFunc(settings, func(s setting) bool { return s.parameter == p.Key }); i >= 0 {
			refused.add(p.Key, settings[i].set(p.Value))
		} else if strings.HasPrefix(p.Key, "arcbox.") {
			refused.ignore(p.Key, errors.New("unknown key"))
		}
	}
	return errors.Join(refused.errs...)
}
