package probe

import "time"

// Process describes a process as /proc does (proc_pid_status(5)). Sizes are in KiB.
type Process struct {
	PID, PPID int
	// State is a letter, Z for a zombie.
	State string
	// Args is the command line; kernel threads and zombies have none.
	Args []string
	// RSSAnon is the process's anonymous memory. VmRSS includes mapped files.
	RSSAnon, VmRSS int
	Threads, FDs   int
}

// Orphans is the result of making orphans.
type Orphans struct {
	// Made is the number of orphans.
	Made int
	// Took is the time until the last one had ended.
	Took time.Duration
}
