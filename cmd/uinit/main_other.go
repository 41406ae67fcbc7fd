//go:build !linux

package main

import (
	"fmt"
	"os"
	"runtime"
)

func main() {
	fmt.Fprintln(os.Stderr, "uinit: only works on Linux, not on", runtime.GOOS)
	os.Exit(1)
}
