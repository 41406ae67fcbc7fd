package config

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// heldSysctls are kernel parameters that the set-up sees to, by path below
// /proc/sys: another value would undo what it promises.
func heldSysctls() []string {
	return []string{"fs/nr_open", "kernel/hostname", "kernel/modprobe", "net/ipv4/ip_forward"}
}

// setSysctls takes over [sysctl] of arcinit.toml, whose keys are written as for
// sysctl(8). The errors name those that are refused.
func (c *Config) setSysctls(table map[string]any) (errs []error) {
	for _, key := range slices.Sorted(maps.Keys(table)) {
		path := sysctlPath(key)
		if sub, ok := table[key].(map[string]any); ok { // vm.swappiness = 1, without quotes
			inner := make(map[string]any, len(sub))
			for k, v := range sub {
				inner[path+"/"+sysctlPath(k)] = v
			}
			errs = append(errs, c.setSysctls(inner)...)
			continue
		}
		value, err := sysctlValue(table[key])
		if err == nil {
			err = checkSysctl(path)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", strings.ReplaceAll(path, "/", "."), err))
			continue
		}
		if c.Sysctls == nil {
			c.Sysctls = map[string]string{}
		}
		c.Sysctls[path] = value
	}
	return errs
}

// sysctlPath is the path below /proc/sys of a key, whose parts are separated by dots
// or, where a dot is in a part, by slashes.
func sysctlPath(key string) string {
	if strings.Contains(key, "/") {
		return key
	}
	return strings.ReplaceAll(key, ".", "/")
}

func checkSysctl(path string) error {
	for part := range strings.SplitSeq(path, "/") {
		if part == "" || part == "." || part == ".." {
			return errors.New("not the name of a kernel parameter")
		}
	}
	if slices.Contains(heldSysctls(), path) {
		return errors.New("the set-up itself sees to this one")
	}
	return nil
}

func sysctlValue(v any) (string, error) {
	switch v := v.(type) {
	case int64:
		return strconv.FormatInt(v, 10), nil
	case string:
		if v == "" || strings.ContainsAny(v, "\n\x00") {
			return "", fmt.Errorf("%q is not one line", v)
		}
		return v, nil
	}
	return "", fmt.Errorf("%v is neither a whole number nor a string", v)
}
