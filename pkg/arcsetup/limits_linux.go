package arcsetup

import (
	"fmt"
	"syscall"
)

// nofile is the limit of open files that Docker Desktop and OrbStack give their
// guests, and the kernel's default for fs.nr_open.
const nofile = 1 << 20

// openFiles raises the limit of open files, never lowering it. A hard limit
// above fs.nr_open is refused, so that comes first.
func (g *Guest) openFiles() (bool, error) {
	changed, err := g.raiseSysctl("fs/nr_open", nofile)
	if err != nil {
		return changed, err
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return changed, fmt.Errorf("getrlimit NOFILE: %w", err)
	}
	want := syscall.Rlimit{Cur: max(limit.Cur, nofile), Max: max(limit.Max, nofile)}
	// Package os raised the soft limit when this process started, and package
	// syscall would give children the old one back: only its own Setrlimit
	// makes it forget that. So it is called even where nothing seems to change.
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &want); err != nil {
		return changed, fmt.Errorf("setrlimit NOFILE to %d: %w", want.Max, err)
	}
	return changed || want != limit, nil
}
