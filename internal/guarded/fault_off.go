//go:build !fault

package guarded

// Fault panics where a test wants it to, in builds with the tag fault alone.
func Fault(string) {}
