package arcsetup

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/arcinit/arcinit/pkg/arcsetup/config"
	"github.com/arcinit/arcinit/pkg/arcsetup/plan"
)

// raised are kernel parameters whose default is too low for container engines and their
// containers. docs/sysctl.md has the defaults, and says who needs each value.
func raised() map[string]uint64 {
	return map[string]uint64{
		"fs/inotify/max_user_instances": 8192,
		"fs/inotify/max_user_watches":   1 << 20,
		"fs/aio-max-nr":                 1 << 20,
		"vm/max_map_count":              1 << 20,
		// As root has in the initial user namespace (security/keys/key.c).
		"kernel/keys/maxkeys":  1_000_000,
		"kernel/keys/maxbytes": 25_000_000,
		// PID_MAX_LIMIT of a 64-bit kernel (include/linux/threads.h).
		"kernel/pid_max":     4 << 20,
		"net/core/somaxconn": 32768,
		// quic-go, UDP Buffer Sizes.
		"net/core/rmem_max": 7_500_000,
		"net/core/wmem_max": 7_500_000,
	}
}

// sysctls sets the configured parameters to their values, even to lower ones, and raises the others of the table.
func (g *Guest) sysctls() (bool, error) {
	var r result
	table, configured := raised(), g.Config().Sysctls
	for _, name := range slices.Sorted(maps.Keys(table)) {
		if _, ok := configured[name]; ok {
			continue
		}
		changed, err := g.raiseSysctl(name, table[name])
		if errors.Is(err, fs.ErrNotExist) {
			err = plan.Fallback(err) // a kernel without keys or AIO
		}
		r.add(changed, err)
	}
	changed, missing, err := g.setConfigured(map[string]bool{}, "")
	r.add(changed, err)
	for _, name := range missing {
		r.add(false, plan.Fallback(fmt.Errorf("arcinit.toml: sysctl %s: not there; it is set when a module brings it", name)))
	}
	return r.changed, r.err
}

// setConfigured sets the configured parameters, except those in done, which it adds to: modules and links bring further
// ones with them. Those of this link are new. A name in full counts more than a pattern, as in sysctl.d(5).
func (g *Guest) setConfigured(done map[string]bool, link string) (changed bool, missing []string, err error) {
	var r result
	base, configured := g.path("/proc/sys")+"/", g.Config().Sysctls
	for _, name := range slices.Sorted(maps.Keys(configured)) {
		paths := []string{base + name}
		pattern := strings.ContainsAny(name, "*?[")
		if pattern {
			paths, _ = filepath.Glob(base + name)
		}
		for _, path := range paths {
			path = strings.TrimPrefix(path, base)
			_, inFull := configured[path]
			isNew := !done[path] || link != "" && slices.Contains(strings.Split(path, "/"), link)
			if !isNew || pattern && (inFull || config.OwnSysctl(path)) {
				continue
			}
			changed, err := g.setSysctl(path, configured[name].Value)
			done[path] = !errors.Is(err, fs.ErrNotExist)
			switch {
			case err == nil || configured[name].Optional:
				r.add(changed, nil)
			case !done[path]:
				missing = append(missing, path)
			default:
				r.add(false, plan.Fallback(fmt.Errorf("arcinit.toml: %w", err)))
			}
		}
	}
	return r.changed, missing, r.err
}
