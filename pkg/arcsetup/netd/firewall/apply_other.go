//go:build !linux

package firewall

import (
	"errors"
	"fmt"
)

// Apply only works on Linux; elsewhere it returns an error that wraps
// errors.ErrUnsupported.
func Apply(rules []Rule) (changed bool, err error) {
	return false, fmt.Errorf("forwarding rules only work on Linux: %w", errors.ErrUnsupported)
}

// Remove is as Apply is.
func Remove(rules []Rule) (changed bool, err error) { return Apply(rules) }
