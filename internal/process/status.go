// Package process starts programs, reaps all children and orphans, restarts services, and shuts the
// system down. It must not know how the guest is set up or which services it has.
package process

import "time"

// ServiceStatus is the state of a service.
type ServiceStatus struct {
	Name   string `json:"name"`
	PID    int    `json:"pid,omitempty"` // zero while it does not run
	Starts int    `json:"starts"`
	Ends   int    `json:"ends"`
	// Failed says that it was started too often, and is not started again.
	Failed bool `json:"failed,omitempty"`
	// Since is when it was last started, in nanoseconds since boot.
	Since time.Duration `json:"since_ns,omitempty"`
	// LastEnd is how it last ended, or the error of the last attempt to start it.
	LastEnd string `json:"last_end,omitempty"`
}
