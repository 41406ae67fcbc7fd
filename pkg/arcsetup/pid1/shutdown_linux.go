package pid1

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Action is how a shutdown ends.
type Action int

// The three ends of a shutdown.
const (
	PowerOff Action = iota + 1
	Reboot
	Halt
)

func (a Action) String() string {
	return map[Action]string{PowerOff: "power off", Reboot: "reboot", Halt: "halt"}[a]
}

// ActionFor is what a signal asks PID 1 for: as busybox's init takes them (USR1,
// USR2, TERM, INT), and systemd's (SIGRTMIN+3 to +5, signal(7) has SIGRTMIN 34).
// Zero is nothing.
func ActionFor(sig os.Signal) Action {
	switch sig {
	case syscall.SIGUSR2, syscall.SIGPWR, syscall.Signal(34 + 4):
		return PowerOff
	case syscall.SIGTERM, syscall.SIGINT, syscall.Signal(34 + 5):
		return Reboot
	case syscall.SIGUSR1, syscall.Signal(34 + 3):
		return Halt
	}
	return 0
}

// ShutDown stops the services within grace, ends all other processes, writes
// everything to the disks, and has the kernel do a. flush is called when the
// last file can still be written. It returns only if the kernel does none of it.
func ShutDown(a Action, services *Services, grace time.Duration, flush func(), log *slog.Logger) error {
	log.Log(context.Background(), LevelNotice, "shutting down", "to", a.String())
	services.Stop(grace)
	endAll(services, log)
	flush()
	unix.Sync()
	if err := unmountAll(); err != nil {
		log.Warn("unmount at shutdown", "err", err)
	}
	unix.Sync()
	// A kernel that cannot power off halts, which no host notices; a reboot
	// ends the VM of a host that is asked for one.
	try := map[Action][]int{
		PowerOff: {unix.LINUX_REBOOT_CMD_POWER_OFF, unix.LINUX_REBOOT_CMD_RESTART},
		Reboot:   {unix.LINUX_REBOOT_CMD_RESTART},
		Halt:     {unix.LINUX_REBOOT_CMD_HALT},
	}[a]
	var err error
	for _, cmd := range try {
		if e := unix.Reboot(cmd); e != nil {
			err = errors.Join(err, fmt.Errorf("reboot(%#x): %w", cmd, e))
		}
	}
	return err
}

// endAll asks the processes that are left to end, and kills them after a second.
func endAll(services *Services, log *slog.Logger) {
	if err := unix.Kill(-1, unix.SIGTERM); errors.Is(err, unix.ESRCH) {
		return // there are none
	}
	deadline := services.After(time.Second)
	for {
		select {
		case <-deadline:
			if err := unix.Kill(-1, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
				log.Warn("kill the remaining processes", "err", err)
			}
			return
		case <-services.After(20 * time.Millisecond):
			if err := unix.Kill(-1, 0); errors.Is(err, unix.ESRCH) {
				return
			}
		}
	}
}

// unmountAll unmounts what can hold data, the last mounted first; what is still
// in use becomes read-only.
func unmountAll() error {
	points, err := mountPoints()
	for _, p := range slices.Backward(points) {
		if p == "/" || isBelow(p, "/proc") || isBelow(p, "/sys") || isBelow(p, "/dev") {
			continue
		}
		if unix.Unmount(p, 0) != nil {
			_ = unix.Mount("", p, "", unix.MS_REMOUNT|unix.MS_RDONLY, "")
		}
	}
	return err
}

func isBelow(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, dir+"/")
}

// mountPoints lists where something is mounted, in the order of mounting: the
// fifth field of /proc/self/mountinfo (proc(5)), which writes blanks as octals.
func mountPoints() ([]string, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("list the mount points: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read from
	var points []string
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	s := bufio.NewScanner(f)
	for s.Scan() {
		if fields := strings.Fields(s.Text()); len(fields) > 4 {
			points = append(points, unescape.Replace(fields[4]))
		}
	}
	return points, s.Err()
}
