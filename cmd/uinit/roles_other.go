//go:build !linux

package main

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"time"
)

// errElsewhere answers every role that has to do with a running guest.
func errElsewhere() error {
	return fmt.Errorf("arcinit only works on Linux, not on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}

func lookAfter(string, io.Writer) error { return errElsewhere() }
func modprobe([]string) error           { return errElsewhere() }
func netDaemon([]string) error          { return errElsewhere() }
func requestShutdown(string) error      { return errElsewhere() }

func printNetwork(io.Writer, time.Duration) error { return errElsewhere() }
