package arcsetup

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"

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
	for _, name := range slices.Sorted(maps.Keys(configured)) {
		changed, err := g.setSysctl(name, configured[name])
		if err != nil {
			err = plan.Fallback(fmt.Errorf("arcinit.toml: %w", err))
		}
		r.add(changed, err)
	}
	return r.changed, r.err
}
