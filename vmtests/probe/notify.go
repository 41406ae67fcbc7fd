package probe

// Listen asks the agent to receive messages of sd_notify(3) and add them to File. The
// agent listens on a unix datagram socket or, if Path is empty, on a vsock port. If File
// is empty, too, the agent listens on the port and reads nothing.
type Listen struct {
	Path string
	Port uint32
	File string
}

// Heard is a received message; Port is the sender's vsock port.
type Heard struct {
	Message string
	Port    uint32
}
