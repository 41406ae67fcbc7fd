package probe

// Without is a program to run in its own mount namespace, where the last mount on a
// path is unmounted.
type Without struct {
	Mount string
	Argv  []string
}
