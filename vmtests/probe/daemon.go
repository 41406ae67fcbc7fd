package probe

// Daemon is a program that goes on beside the agent. What it writes, and how it
// ends, is added to the file Log.
type Daemon struct {
	Argv []string
	Log  string
}
