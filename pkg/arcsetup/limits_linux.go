package arcsetup

import (
	"fmt"
	"os"
	"strings"
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

// protectedScore is as far as a process can be from the out-of-memory killer
// without being exempt from it, and from the kernel's panic when all are
// (Documentation/filesystems/proc.rst, oom_score_adj).
const protectedScore = "-999"

// protect keeps this process from the out-of-memory killer. What it starts is
// given the usual score (package pid1).
func (g *Guest) protect() (changed bool, err error) {
	const path = "/proc/self/oom_score_adj"
	score, err := g.readFile(path)
	if err != nil || strings.TrimSpace(score) == protectedScore {
		return false, err
	}
	return true, os.WriteFile(g.path(path), []byte(protectedScore), 0)
}
