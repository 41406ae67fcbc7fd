package config

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Root is the root file system that the kernel command line asks for
// (Documentation/admin-guide/kernel-parameters.rst; root= and the rest mean what
// they mean to the kernel).
type Root struct {
	// Device is root= as it stands there; empty keeps the initramfs.
	Device string
	// Types are the file systems to try (rootfstype=); none leaves it to what
	// is found on the device.
	Types []string
	// Options are the file system's own (rootflags=).
	Options string
	// Writable is rw, as opposed to ro, the default.
	Writable bool
	// Wait is how long the device is waited for (rootwait, rootwait=SECONDS);
	// WaitForever has no end.
	Wait time.Duration
}

// WaitForever is the Root.Wait of a rootwait without a number.
const WaitForever time.Duration = -1

// DefaultRootWait is how long the root is waited for where nothing is said. The
// kernel would not wait; but here a module for the disk may still be loading.
const DefaultRootWait = 10 * time.Second

// maxRootWait keeps a number of seconds within a time.Duration. It is the
// kernel's own limit: an int of milliseconds.
const maxRootWait = (1<<31 - 1) / 1000

// Root returns the root that the command line asks for, and what is wrong with
// how it does; the rest holds all the same.
func (l CommandLine) Root() (Root, error) {
	r := Root{Wait: DefaultRootWait}
	var errs []error
	for _, p := range l {
		switch p.Key {
		case "root":
			r.Device = p.Value
		case "rootfstype":
			r.Types = strings.FieldsFunc(p.Value, func(c rune) bool { return c == ',' })
		case "rootflags":
			r.Options = p.Value
		case "ro", "rw":
			if p.Flag {
				r.Writable = p.Key == "rw"
			}
		case "rootwait":
			wait, err := parseRootWait(p)
			if err != nil {
				errs = append(errs, fmt.Errorf("kernel command line: rootwait=%s: %w", p.Value, err))
				continue
			}
			r.Wait = wait
		}
	}
	return r, errors.Join(errs...)
}

func parseRootWait(p Param) (time.Duration, error) {
	if p.Flag {
		return WaitForever, nil
	}
	seconds, err := strconv.ParseUint(p.Value, 10, 31)
	if err != nil || seconds > maxRootWait {
		return 0, fmt.Errorf("not a number of seconds up to %d", maxRootWait)
	}
	return time.Duration(seconds) * time.Second, nil
}
