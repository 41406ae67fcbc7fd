package arcsetup

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"

	"github.com/arcinit/arcinit/pkg/arcsetup/plan"
)

// raised are kernel parameters of which the default is too little for container
// engines and what is usually run with them. Each is raised to its value, never
// lowered. docs/sysctl.md is this table for its users.
func raised() map[string]uint64 {
	return map[string]uint64{
		// Each watcher of files, and each kubelet, containerd and systemd in a
		// container, takes an instance; 128 a user by default
		// (kind, "Pod errors due to too many open files").
		"fs/inotify/max_user_instances": 8192,
		// One a watched file; between 8192 and 2^20 by the memory, since Linux 5.11.
		// Editors and development servers watch source trees (Visual Studio Code
		// asks for 524288).
		"fs/inotify/max_user_watches": 1 << 20,
		// 65536 by default for all of the system; databases that open their files
		// for asynchronous I/O run out of it (ScyllaDB and Oracle set 2^20 and more).
		"fs/aio-max-nr": 1 << 20,
		// 65530 mappings a process by default. Elasticsearch refuses to start below
		// 262144 and asks for 2^20, as distributions have it since 2023.
		"vm/max_map_count": 1 << 20,
		// Each container takes a session keyring of its user; 200 keys of 20000
		// bytes by default, 1000000 of 25000000 for the host's root
		// (Documentation/security/keys/core.rst).
		"kernel/keys/maxkeys":  1_000_000,
		"kernel/keys/maxbytes": 25_000_000,
		// 32768 by default with up to 32 processors, for the threads of all
		// containers together; systemd sets the most that 64 bits allow, PID_MAX_LIMIT
		// of include/linux/threads.h.
		"kernel/pid_max": 4 << 20,
		// 4096 by default. Ingress controllers, which accept for all that is behind
		// them, ask for this on the host's network.
		"net/core/somaxconn": 32768,
		// 212992 by default; QUIC's senders and receivers want 7.5 MB (quic-go, UDP
		// Buffer Sizes) and warn of less.
		"net/core/rmem_max": 7_500_000,
		"net/core/wmem_max": 7_500_000,
	}
}

// sysctls raises the parameters of the table, and sets those that the host
// configures to what it says, be that lower.
func (g *Guest) sysctls() (changed bool, err error) {
	table := raised()
	for _, name := range slices.Sorted(maps.Keys(table)) {
		if _, configured := g.Config.Sysctls[name]; configured {
			continue
		}
		c, errRaise := g.raiseSysctl(name, table[name])
		if errors.Is(errRaise, fs.ErrNotExist) {
			errRaise = plan.Fallback(errRaise) // a kernel without keys, or AIO
		}
		changed, err = changed || c, errors.Join(err, errRaise)
	}
	for _, name := range slices.Sorted(maps.Keys(g.Config.Sysctls)) {
		c, errSet := g.setSysctl(name, g.Config.Sysctls[name])
		if errSet != nil {
			errSet = plan.Fallback(fmt.Errorf("arcinit.toml: %w", errSet))
		}
		changed, err = changed || c, errors.Join(err, errSet)
	}
	return changed, err
}
