package probe

// Daemon is a program to run in the background. Its output and its exit status go to
// the file Log.
type Daemon struct {
	Argv []string
	Log  string
}
