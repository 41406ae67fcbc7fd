package probe

import "time"

// Process is what /proc says of a process (proc_pid_status(5)). Sizes are in KiB.
type Process struct {
	PID, PPID int
	// State is a letter, Z for a zombie.
	State string
	// Args is the command line; kernel threads and zombies have none.
	Args []string
	// RSSAnon is the memory that only this process can give back, VmRSS that
	// and the pages of files that it has mapped.
	RSSAnon, VmRSS int
	Threads, FDs   int
}

// Orphans is how the making of orphans went.
type Orphans struct {
	// Made is how many have been orphans.
	Made int
	// Took is the time until the last of them had ended.
	Took time.Duration
}
