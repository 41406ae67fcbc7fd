//go:build !linux

package arcsetup

import (
	"errors"
	"fmt"
	"runtime"

	"github.com/arcinit/arcinit/pkg/arcsetup/plan"
)

// Plan returns a plan whose only step fails: arcinit only works on Linux.
func Plan(*Guest) (steps, later []plan.Step) {
	return []plan.Step{{
		Name: "elsewhere",
		Doc:  "arcinit sets up Linux guests",
		Run: func() (bool, error) {
			return false, fmt.Errorf("set up the guest on %s: arcinit only works on Linux: %w", runtime.GOOS, errors.ErrUnsupported)
		},
	}}, nil
}
