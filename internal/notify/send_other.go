//go:build !linux

package notify

import (
	"errors"
	"fmt"
	"runtime"
	"time"
)

func send(a Address, _ []byte, _ time.Duration) error {
	return fmt.Errorf("send to %s on %s: %w", a, runtime.GOOS, errors.ErrUnsupported)
}
