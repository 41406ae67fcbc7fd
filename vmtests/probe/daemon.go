package probe

// Daemon is a program that runs beside the agent. Its output, and how it ends, go to
// the file Log.
type Daemon struct {
	Argv []string
	Log  string
}
