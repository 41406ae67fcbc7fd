//go:build fault

package guarded

import (
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/arcinit/arcinit/vmtests/cover"
)

// fired has the names that have had their fault. Only test guests run this build, so only they have this variable.
var fired sync.Map

// Fault fails the first time that this process calls it with a name listed in ARCBOX_FAULT=NAME=FAULT,NAME=FAULT on the kernel command
// line. FAULT is the error to return (errno(3)), hang, or missing: then Fault panics. In NAME, _ stands for a blank.
func Fault(name string) error {
	cover.At(name)
	name = strings.ReplaceAll(name, " ", "_")
	// PID 1 and its services have the list in their environment. A process that the kernel starts has not.
	cmdline, _ := os.ReadFile("/proc/cmdline")
	for _, parameter := range append(os.Environ(), strings.Fields(string(cmdline))...) {
		list, ok := strings.CutPrefix(parameter, "ARCBOX_FAULT=")
		for fault := range strings.SplitSeq(list, ",") {
			faulty, kind, _ := strings.Cut(fault, "=")
			if !ok || faulty != name {
				continue
			}
			if _, again := fired.LoadOrStore(name, true); again {
				return nil
			}
			if number, err := strconv.Atoi(kind); err == nil {
				return syscall.Errno(number)
			}
			if kind == "hang" {
				select {}
			}
			panic("fault in " + name)
		}
	}
	return nil
}
