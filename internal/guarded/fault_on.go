//go:build fault

package guarded

import (
	"os"
	"slices"
	"strings"
	"sync"
)

// fired has the names that have panicked. Only test guests run this build, so
// only they have this variable.
var fired sync.Map

// Fault panics the first time that this process calls it with a name listed in
// ARCBOX_FAULT=NAME,NAME on the kernel command line. There, _ stands for a blank.
func Fault(name string) {
	const key = "ARCBOX_FAULT="
	name = strings.ReplaceAll(name, " ", "_")
	// PID 1 and its services have the list in their environment. A process that
	// the kernel starts has not.
	cmdline, _ := os.ReadFile("/proc/cmdline")
	for _, parameter := range append(os.Environ(), strings.Fields(string(cmdline))...) {
		names, ok := strings.CutPrefix(parameter, key)
		if !ok || !slices.Contains(strings.Split(names, ","), name) {
			continue
		}
		if _, again := fired.LoadOrStore(name, true); !again {
			panic("fault in " + name)
		}
	}
}
