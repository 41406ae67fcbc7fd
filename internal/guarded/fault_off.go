//go:build !fault

package guarded

// Fault panics where a test asks for it, in builds with the tag fault only.
func Fault(string) {}
