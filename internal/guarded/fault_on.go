//go:build fault

package guarded

import (
	"os"
	"slices"
	"strings"
	"sync"
)

// fired are the names that have panicked once. Only this build, which no guest
// but a test's runs, has such a variable.
var fired sync.Map

// Fault panics when a name that ARCBOX_FAULT=NAME,NAME on the kernel command
// line lists, with _ for blanks, begins for the first time in this process.
func Fault(name string) {
	name = strings.ReplaceAll(name, " ", "_")
	if !slices.Contains(strings.Split(faults(), ","), name) {
		return
	}
	if _, again := fired.LoadOrStore(name, true); !again {
		panic("fault in " + name)
	}
}

// faults is what PID 1 and its services have in their environment, and a process
// that the kernel itself starts finds on the command line.
func faults() string {
	const key = "ARCBOX_FAULT"
	if names := os.Getenv(key); names != "" {
		return names
	}
	cmdline, _ := os.ReadFile("/proc/cmdline")
	for _, parameter := range strings.Fields(string(cmdline)) {
		if names, ok := strings.CutPrefix(parameter, key+"="); ok {
			return names
		}
	}
	return ""
}
