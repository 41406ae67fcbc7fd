package process

import "time"

// ServiceStatus is what has become of a service.
type ServiceStatus struct {
	Name   string `json:"name"`
	PID    int    `json:"pid,omitempty"` // zero while it does not run
	Starts int    `json:"starts"`
	Ends   int    `json:"ends"`
	// Since is when it was last started, since the kernel's boot, in nanoseconds.
	Since time.Duration `json:"since_ns,omitempty"`
	// LastEnd says how it last ended, or why it could not be started.
	LastEnd string `json:"last_end,omitempty"`
}
