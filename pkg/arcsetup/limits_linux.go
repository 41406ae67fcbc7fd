package arcsetup

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"github.com/arcinit/arcinit/pkg/arcsetup/plan"
)

// nofile is the limit of open files that Docker Desktop and OrbStack give their guests, and the kernel's default for fs.nr_open.
const nofile = 1 << 20

// openFiles raises the limit of open files, and fs.nr_open before it: the kernel refuses a hard limit above fs.nr_open.
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
	// Needed even if limit is want: package syscall gives children the soft limit from before package os raised it, until this function is called.
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &want); err != nil {
		return changed, fmt.Errorf("setrlimit NOFILE to %d: %w", want.Max, err)
	}
	return changed || want != limit, nil
}

// expediteRCU shortens RCU grace periods (rcupdate.rcu_expedited in Documentation/ admin-guide/kernel-parameters.txt):
// starting a container and closing a packet socket wait for several. A kernel for one processor has no such file.
func (g *Guest) expediteRCU() (changed bool, err error) {
	changed, err = g.setValue("/sys/kernel/rcu_expedited", "1")
	if errors.Is(err, fs.ErrNotExist) {
		err = plan.Absent(err)
	}
	return changed, err
}
