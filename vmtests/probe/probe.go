// Package probe has the requests and replies of the test agent, a program on the
// share. Over a virtio-serial port the agent reports files, mounts, limits, links and
// routes to the tests, and runs programs. It asks the kernel itself and must not use
// arcinit's packages.
package probe

import (
	"io/fs"
	"time"
)

// Port is the name of the virtio-serial port that the agent serves.
const Port = "probe"

// Service is the name under which the agent registers its methods (net/rpc).
const Service = "Guest"

// AtStart is what the agent found when it started.
type AtStart struct {
	Uptime    time.Duration // since the kernel's boot
	Clock     time.Time
	PID, PPID int
	Environ   []string
	// NOFILE is the soft and hard limit of open files that the agent's
	// children inherit, ParentNOFILE the limits of its parent.
	NOFILE, ParentNOFILE [2]string
	Mounts               []Mount
	Links                []Link
	// RCUExpedited is /sys/kernel/rcu_expedited. It is empty if the kernel lacks the file.
	RCUExpedited string
}

// Mount is a line of /proc/self/mountinfo (proc(5)).
type Mount struct {
	Root, Path, FSType, Source string
	Options, SuperOptions      []string
	Shared                     bool // the mount's propagation is shared
}

// Record is a line of the kernel log.
type Record struct {
	// Level is the kernel's: 3 error, 4 warning, 5 notice, 6 info, 7 debug.
	Level int
	Time  time.Duration // since the kernel's boot
	Text  string
}

// Stat is the result of lstat(2) and readlink(2).
type Stat struct {
	Mode     fs.FileMode
	UID, GID uint32
	Size     int64
	Target   string
	// Bytes is the whole file system's size, from statfs(2).
	Bytes uint64
}

// Command is a program to run.
type Command struct {
	Argv  []string
	Env   []string
	Stdin string
}

// Result is a program's exit code and output.
type Result struct {
	Code           int
	Stdout, Stderr string
}

// Link is a network interface.
type Link struct {
	Name, MAC string
	Up        bool
	MTU       int
	Addresses []string // with prefix length
}

// Route is an IPv4 route of the main table. The default route has an empty Dst.
type Route struct {
	Dst, Gateway, Link string
}

// Node asks the agent to create a copy of /dev/null in a directory, to open the copy and
// to remove it.
type Node struct{ Dir string }
