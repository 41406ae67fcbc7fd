package config

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// heldSysctls are the kernel parameters that the set-up sets itself, or that
// would undo what it sets: conf/all/forwarding is another name of ip_forward.
func heldSysctls() []string {
	return []string{"fs/nr_open", "kernel/hostname", "kernel/modprobe", "net/ipv4/ip_forward", "net/ipv4/conf/all/forwarding"}
}

// setSysctls adds the kernel parameters of a table of arcinit.toml, which is for
// those below prefix: [sysctl], or a table in it, since vm.swappiness is a table
// vm with a key in it to TOML.
func (c *Config) setSysctls(prefix string, table map[string]any, refused *refusals) {
	for _, key := range slices.Sorted(maps.Keys(table)) {
		path := prefix + sysctlPath(key)
		if inner, ok := table[key].(map[string]any); ok {
			c.setSysctls(path+"/", inner, refused)
			continue
		}
		value, err := sysctlValue(table[key])
		if err == nil {
			err = checkSysctl(path)
		}
		if err != nil {
			refused.ignore("sysctl: "+path, err)
			continue
		}
		if c.Sysctls == nil {
			c.Sysctls = map[string]string{}
		}
		c.Sysctls[path] = value
	}
}

// sysctlPath returns the path below /proc/sys of a key as sysctl.d(5) spells it.
// If a slash comes before any dot, the key is the path. Otherwise dots and slashes
// change places: "net.ipv4.conf.eth0/100.rp_filter" is about the link eth0.100.
func sysctlPath(key string) string {
	key = strings.TrimPrefix(key, "/")
	if at := strings.IndexAny(key, "./"); at < 0 || key[at] == '/' {
		return key
	}
	return strings.NewReplacer(".", "/", "/", ".").Replace(key)
}

func checkSysctl(path string) error {
	for part := range strings.SplitSeq(path, "/") {
		if part == "" || part == "." || part == ".." {
			return errors.New("not the name of a kernel parameter")
		}
	}
	if slices.Contains(heldSysctls(), path) {
		return errors.New("the set-up needs its own value of this parameter")
	}
	return nil
}

func sysctlValue(v any) (string, error) {
	switch v := v.(type) {
	case int64:
		return strconv.FormatInt(v, 10), nil
	case string:
		if v == "" || strings.ContainsAny(v, "\n\x00") {
			return "", fmt.Errorf("%q is not one line of text", v)
		}
		return v, nil
	}
	return "", fmt.Errorf("%v is neither a whole number nor a string", v)
}
