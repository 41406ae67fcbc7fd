package probe

// Flood asks for a container on the guest's network that floods the abstract socket Address. Before, it tries to
// signal the process PID.
type Flood struct {
	Address string
	PID     int
}

// Flooder is what the container could do: listen on the address, signal the process, and what it heard when it
// connected.
type Flooder struct {
	Listens, Signals bool
	Heard            []byte
}

// Squat asks to run a program on a network where a container listens on the abstract socket Address.
type Squat struct {
	Address string
	Argv    []string
}
