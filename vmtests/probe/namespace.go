package probe

import "time"

// Endpoint is an address as it is seen from a network namespace.
type Endpoint struct {
	// Namespace is its name (ip-netns(8)).
	Namespace string
	// Address is what is pinged, or with a port what is connected or listened to.
	Address string
	// Timeout is how long an answer is waited for.
	Timeout time.Duration
}
