package probe

import "time"

// Squeeze limits something for a time, and kills processes as soon as the limit is there.
type Squeeze struct {
	// What is a file in /proc/sys, or FilesOfPID1.
	What  string
	Limit int
	For   time.Duration
	Kill  []int
}

// FilesOfPID1 are the descriptors that PID 1 may have open.
const FilesOfPID1 = "the descriptors of PID 1"
