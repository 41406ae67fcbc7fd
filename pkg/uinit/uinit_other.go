//go:build !linux

package uinit

import (
	"fmt"
	"io"
	"runtime"
)

// Run fails: the program only works on Linux.
func Run([]string, io.Writer, Plan) error {
	return fmt.Errorf("only works on Linux, not on %s", runtime.GOOS)
}
