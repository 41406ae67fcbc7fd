package probe

// Without is a program to run in a mount name space of its own, without the last mount
// on a path.
type Without struct {
	Mount string
	Argv  []string
}
