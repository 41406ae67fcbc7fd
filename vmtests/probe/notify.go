package probe

// Listen asks the agent to listen for messages of sd_notify(3), on a unix socket
// for datagrams or, where Path is empty, on a port of vsock, and to add them to
// File.
type Listen struct {
	Path string
	Port uint32
	File string
}

// Heard is a message that came to a listener; Port is the vsock port it came from.
type Heard struct {
	Message string
	Port    uint32
}
