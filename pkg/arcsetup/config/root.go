package config

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Root is the root file system that the kernel command line asks for, in the kernel's
// own parameters (Documentation/admin-guide/kernel-parameters.rst).
type Root struct {
	Device   string        // root=; if empty, the initramfs is the root
	Types    []string      // the file systems to try (rootfstype=); if none, the superblock decides
	Options  string        // the file system's mount options (rootflags=)
	Writable bool          // rw, as opposed to ro, the default
	Wait     time.Duration // how long to wait for the device (rootwait, rootwait=SECONDS)
}

// WaitForever is the Root.Wait of a rootwait without a number.
const WaitForever time.Duration = -1

// DefaultRootWait is Root.Wait without rootwait: disk drivers may still be loading.
const DefaultRootWait = 10 * time.Second

// Root returns the root that the command line asks for. It is usable whatever the
// error, which joins one error for each wrong value.
func (l CommandLine) Root() (Root, error) {
	r := Root{Wait: DefaultRootWait}
	refused := refusals{source: "kernel command line"}
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
			if p.Flag {
				r.Wait = WaitForever
			} else {
				refused.add(p.Key, parsed(&r.Wait, parseRootWait)(p.Value))
			}
		}
	}
	return r, errors.Join(refused.errs...)
}

func parseRootWait(v string) (time.Duration, error) {
	seconds, err := strconv.ParseUint(v, 10, 31)
	if err != nil {
		return 0, fmt.Errorf("%q is not a number of seconds", v)
	}
	return time.Duration(seconds) * time.Second, nil
}
