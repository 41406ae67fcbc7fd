package probe

import "time"

// Signal is a signal to send.
type Signal struct{ PID, Number int }

// OnTerm is what the agent does on SIGTERM: it waits, writes Data to the files and ends.
// With Stay it does not end. Instead it keeps adding the time since the kernel's boot,
// in nanoseconds, to the first file.
type OnTerm struct {
	Wait  time.Duration
	Files []string
	Data  []byte
	Stay  bool
}

// MountRequest asks the agent to mount a file system. If File is set, the agent creates
// it and keeps it open for writing. Flags and Data are those of mount(2).
type MountRequest struct {
	Source, Target, FSType, File string
	Flags                        uintptr
	Data                         string
}

// Storm is the result of a storm of orphans in which the agent was killed. Times
// are since the kernel's boot.
type Storm struct {
	Orphans
	Began, Killed time.Duration
}
