package probe

import "time"

// Endpoint is an address to use from a network namespace.
type Endpoint struct {
	// Namespace is the name of the namespace (ip-netns(8)).
	Namespace string
	// Address is an address to ping, or with a port to connect to or listen on.
	Address string
	// Timeout limits the wait for an answer.
	Timeout time.Duration
}
