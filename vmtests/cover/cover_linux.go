// Package cover gets Go's coverage counters out of a guest. Test builds of uinit link it (the tag fault). It does nothing unless
// the host has the share Tag and the program was built by go build -cover.
package cover

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime/coverage"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Tag is the tag of the share that gets the counters of every process.
const Tag = "arcinit-cover"

// dir is the root of the share, empty without one. Go looks for GOCOVERDIR before main, and writes there when a process exits.
var dir = open()

// writing is held while counters are written.
var writing sync.Mutex

// open mounts the share where no other process sees the mount, and starts to write counters every second: PID 1 never exits, and
// other processes may be killed.
func open() string {
	fs, err := unix.Fsopen("virtiofs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return ""
	}
	defer func() { _ = unix.Close(fs) }()
	if unix.FsconfigSetString(fs, "source", Tag) != nil || unix.FsconfigCreate(fs) != nil {
		return ""
	}
	root, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return ""
	}
	dir := fmt.Sprint("/proc/self/fd/", root)
	_ = os.Setenv("GOCOVERDIR", dir)
	go func() {
		for range time.Tick(time.Second) {
			write(dir)
		}
	}()
	return dir
}

// At writes the counters if name is the goroutine that ends the system.
func At(name string) {
	if dir == "" {
		return
	}
	_ = os.Unsetenv("GOCOVERDIR") // the agent and the services do not get it
	switch name {
	case "power off", "reboot", "halt":
		write(dir)
	}
}

// write writes this process's counters, then removes those that it wrote before. Both fail before /proc is mounted.
func write(dir string) {
	writing.Lock()
	defer writing.Unlock()
	before, _ := filepath.Glob(fmt.Sprintf("%s/covcounters.*.%d.*", dir, os.Getpid()))
	if coverage.WriteMetaDir(dir) != nil || coverage.WriteCountersDir(dir) != nil {
		return
	}
	for _, file := range before {
		_ = os.Remove(file)
	}
}
