package probe

// Without is a program to be run in a mount name space of its own in which what is
// mounted last on a path is not.
type Without struct {
	Mount string
	Argv  []string
}
