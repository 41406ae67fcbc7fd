package probe

import "time"

// Signal is a signal to send.
type Signal struct{ PID, Number int }

// OnTerm says what the agent does on SIGTERM: it writes Data to the files and
// ends. One that ignores it does nothing.
type OnTerm struct {
	Files  []string
	Data   []byte
	Ignore bool
}

// MountRequest asks for a file system to be mounted. File, if any, is made on it and
// kept open for writing.
type MountRequest struct{ Source, Target, FSType, File string }

// Storm is what became of a storm of orphans in the midst of which the agent was
// killed.
type Storm struct {
	Orphans
	// Killed is when that was, since the kernel's boot.
	Killed time.Duration
}
