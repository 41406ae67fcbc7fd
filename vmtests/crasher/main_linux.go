// Command crasher is an agent that ends at once, with an exit code or by a signal.
package main

import (
	"os"
	"syscall"
)

func main() {
	if pid := os.Getpid(); pid%3 == 0 {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	os.Exit(3)
}
