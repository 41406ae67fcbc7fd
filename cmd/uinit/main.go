// Command uinit is the first program of a container VM: package uinit with the standard plan.
package main

import (
	"fmt"
	"os"

	"github.com/arcinit/arcinit/pkg/arcsetup"
	"github.com/arcinit/arcinit/pkg/uinit"
)

func main() {
	if err := uinit.Run(os.Args[1:], os.Stdout, arcsetup.Plan); err != nil {
		fmt.Fprintln(os.Stderr, "uinit:", err)
		os.Exit(1)
	}
}
