//go:build !linux

package main

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"time"

	"github.com/arcinit/arcinit/pkg/arcsetup"
	"github.com/arcinit/arcinit/pkg/arcsetup/plan"
)

// errElsewhere is the answer of every role that needs a running guest.
func errElsewhere() error {
	return fmt.Errorf("arcinit only works on Linux, not on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}

func runInit(string, io.Writer) error             { return errElsewhere() }
func modprobe([]string) error                     { return errElsewhere() }
func netDaemon([]string) error                    { return errElsewhere() }
func requestShutdown(string) error                { return errElsewhere() }
func printNetwork(io.Writer, time.Duration) error { return errElsewhere() }

func bootPlan() []plan.Step { return arcsetup.Plan(&arcsetup.Guest{Root: "/"}) }
