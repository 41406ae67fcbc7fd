//go:build !linux

package netd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
)

// Run works on Linux only. On other systems it returns an error that wraps
// errors.ErrUnsupported.
func Run(ctx context.Context, cfg Config, log *slog.Logger) error {
	return fmt.Errorf("the network daemon only works on Linux: %w", errors.ErrUnsupported)
}
