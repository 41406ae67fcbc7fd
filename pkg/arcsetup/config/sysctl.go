package config

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Sysctl is what a kernel parameter is to be. It is no failure if an Optional one cannot be set.
type Sysctl struct {
	Value    string
	Optional bool
}

// setSysctls adds the kernel parameters of a table of arcinit.toml: [sysctl], or a table in it for the
// parameters below prefix. To TOML, vm.swappiness is a key in a table vm.
func (c *Config) setSysctls(prefix string, table map[string]any, refused *refusals) {
	for _, key := range slices.Sorted(maps.Keys(table)) {
		path := prefix + sysctlPath(key)
		if inner, ok := table[key].(map[string]any); ok {
			c.setSysctls(path+"/", inner, refused)
			continue
		}
		path, optional := strings.CutPrefix(path, "-")
		if value, err := sysctlValue(path, table[key]); err != nil {
			refused.ignore("sysctl: "+path, err)
		} else {
			c.Sysctls[path] = Sysctl{value, optional}
		}
	}
}

// sysctlPath returns the path below /proc/sys of a key as sysctl.d(5) spells it. If a slash comes before any dot, the key is the path.
// Otherwise dots and slashes change places: "net.ipv4.conf.eth0/100.rp_filter" is about the link eth0.100.
func sysctlPath(key string) string {
	if plain, optional := strings.CutPrefix(key, "-"); optional {
		return "-" + sysctlPath(plain)
	}
	key = strings.TrimPrefix(key, "/")
	if at := strings.IndexAny(key, "./"); at < 0 || key[at] == '/' {
		return key
	}
	return strings.NewReplacer(".", "/", "/", ".").Replace(key)
}

// OwnSysctl reports whether the set-up needs its own value of a parameter.
func OwnSysctl(path string) bool {
	// The last is another name of ip_forward.
	return slices.Contains([]string{"fs/nr_open", "kernel/hostname", "kernel/modprobe", "net/ipv4/ip_forward", "net/ipv4/conf/all/forwarding"}, path)
}

// sysctlValue returns a value in the form that the kernel reads.
func sysctlValue(path string, value any) (string, error) {
	if !fs.ValidPath(path) {
		return "", errors.New("not the name of a kernel parameter")
	}
	if OwnSysctl(path) {
		return "", errors.New("the set-up needs its own value of this parameter")
	}
	switch v := value.(type) {
	case int64:
		return strconv.FormatInt(v, 10), nil
	case string:
		if v == "" || strings.ContainsAny(v, "\n\x00") {
			return "", fmt.Errorf("%q is not one line of text", v)
		}
		return v, nil
	}
	return "", fmt.Errorf("%v is neither a whole number nor a string", value)
}
