//go:build !fault

package guarded

// Fault fails, hangs or panics where a test asks for it, in builds with the tag fault only.
func Fault(string) error { return nil }
