package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// CommandLine is the kernel's command line, split into its parameters.
type CommandLine []Param

// Param is one parameter. Flag is set if it has no "=".
type Param struct {
	Key, Value string
	Flag       bool
}

// ParseCommandLine splits a command line as the kernel does: at blanks outside double quotes. The quotes
// may be around the value or the whole parameter (Documentation/admin-guide/kernel-parameters.rst).
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

// unquote removes one pair of double quotes around s. Like the kernel, it keeps inner ones.
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

// mergeCommandLine sets what the arcbox.* parameters configure. A wrong value leaves c as it was. The error joins one for
// each wrong value and each key that looks like a slip; further keys are the agent's.
func (c *Config) mergeCommandLine(l CommandLine) error {
	refused := refusals{source: "kernel command line"}
	settings := c.settings(&file{})
	for _, p := range l {
		i := slices.IndexFunc(settings, func(s setting) bool { return s.parameter == p.Key })
		if i < 0 || p.Key == "" {
			refused.ignore(p.Key, slip(p.Key, settings))
		} else if err := settings[i].set(p.Value); err != nil {
			refused.add(p.Key, err)
		} else {
			c.From[cmp.Or(settings[i].key, strings.TrimPrefix(p.Key, "arcbox."))] = refused.source
		}
	}
	return errors.Join(refused.errs...)
}

// slip returns an error that names the parameter which a key misspells.
func slip(key string, settings []setting) error {
	name, ours := strings.CutPrefix(key, "arcbox.")
	for _, s := range settings {
		if meant, _ := strings.CutPrefix(s.parameter, "arcbox."); ours && meant != "" && near(name, meant, min(2, len(meant)/3)) {
			return fmt.Errorf("unknown key; is %s meant?", s.parameter)
		}
	}
	return nil
}

// near reports whether so many slips lead from a to b: a letter that is missing, wrong, too many or swapped with its neighbour.
func near(a, b string, slips int) bool {
	for a != "" && b != "" && a[0] == b[0] {
		a, b = a[1:], b[1:]
	}
	if slips == 0 || a == "" || b == "" {
		return len(a)+len(b) <= slips
	}
	swapped := len(a) > 1 && len(b) > 1 && a[0] == b[1] && a[1] == b[0]
	return near(a[1:], b, slips-1) || near(a, b[1:], slips-1) || near(a[1:], b[1:], slips-1) || swapped && near(a[2:], b[2:], slips-1)
}

// Modules returns what the command line says about modules of the kernel, whose names have underscores: the parameters that
// each gets, in the form of finit_module(2), and those that are not to be loaded, in the words of the kernel, kmod and dracut.
func (l CommandLine) Modules() (parameters map[string]string, refused []string) {
	parameters = map[string]string{}
	for _, p := range l {
		value, module, parameter := p.Value, "", ""
		switch p.Key {
		case "module_blacklist", "modprobe.blacklist", "rd.driver.blacklist":
			refused = append(refused, strings.Split(strings.ReplaceAll(value, "-", "_"), ",")...)
			continue
		}
		if module, parameter, _ = strings.Cut(strings.ReplaceAll(p.Key, "-", "_"), "."); parameter == "" {
			continue
		}
		if strings.ContainsAny(value, blanks) {
			value = `"` + value + `"`
		}
		if !p.Flag {
			parameter += "=" + value
		}
		parameters[module] = strings.TrimPrefix(parameters[module]+" "+parameter, " ")
	}
	return parameters, refused
}

// Root is the root file system that the kernel command line asks for, in the kernel's
// own parameters (Documentation/admin-guide/kernel-parameters.rst).
type Root struct {
	Device   string        // root=; if empty, the initramfs is the root
	Types    []string      // the file systems to try (rootfstype=); auto, the default, is what the superblock says
	Options  string        // mount options as in fstab(5), without ro and rw (rootflags=)
	Writable bool          // rw, as opposed to ro, the default
	Wait     time.Duration // how long to wait for the device (rootwait, rootwait=SECONDS, at least rootdelay=SECONDS)
}

// Shared reports whether the root is a share of the host, which has a tag in place of a device.
func (r Root) Shared() bool { return r.Types[0] == "virtiofs" || r.Types[0] == "9p" }

// WaitForever is the Root.Wait of a rootwait without a number.
const WaitForever time.Duration = -1

// DefaultRootWait is Root.Wait without rootwait: disk drivers may still be loading.
const DefaultRootWait = 10 * time.Second

// Root returns the root that the command line asks for. It is usable whatever the error, which joins one error for each wrong value.
func (l CommandLine) Root() (Root, error) {
	r := Root{Types: []string{"auto"}, Wait: DefaultRootWait}
	refused := refusals{source: "kernel command line"}
	var options []string
	var delay time.Duration
	for _, p := range l {
		words := strings.FieldsFunc(p.Value, func(c rune) bool { return c == ',' })
		switch p.Key {
		case "root":
			r.Device = strings.Trim(p.Value, quotes)
		case "rootfstype":
			if len(words) > 0 {
				r.Types = words
			}
		case "rootflags":
			options = words
		case "ro", "rw":
			if p.Flag {
				r.Writable = p.Key == "rw"
			}
		case "rootwait":
			if p.Flag {
				r.Wait = WaitForever
			} else {
				refused.add(p.Key, parsed(&r.Wait, parseRootWait)(p.Value))
			}
		case "rootdelay":
			refused.add(p.Key, parsed(&delay, parseRootWait)(p.Value))
		}
	}
	if r.Wait != WaitForever {
		r.Wait = max(r.Wait, delay)
	}
	if tag, ok := strings.CutPrefix(r.Device, "virtiofs:"); ok { // as dracut has it
		r.Device, r.Types = tag, []string{"virtiofs"}
	}
	// The kernel's names of an initial RAM disk, and of whatever the root is.
	if !r.Shared() && (r.Device == "/dev/root" || strings.HasPrefix(r.Device, "/dev/ram")) {
		r.Device = ""
	}
	for _, option := range options {
		if option == "ro" || option == "rw" {
			r.Writable = option == "rw"
		} else {
			r.Options = strings.TrimPrefix(r.Options+","+option, ",")
		}
	}
	return r, errors.Join(refused.errs...)
}

// quotes are what people put around values, also where the kernel leaves them.
const quotes = `"'`

func parseRootWait(v string) (time.Duration, error) {
	seconds, err := strconv.ParseUint(v, 10, 31)
	if err != nil {
		return 0, fmt.Errorf("%q is not a number of seconds", v)
	}
	return time.Duration(seconds) * time.Second, nil
}
