package process

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/arcinit/arcinit/internal/guarded"
	"github.com/arcinit/arcinit/internal/logs"
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

const (
	// afterTerm is how long processes that are no services have to end, and
	// once more when they are killed: what is in use then is not unmounted.
	afterTerm = 2 * time.Second
	// afterSync is how long a disk or a share may take to be written or
	// unmounted; the host of one may be gone.
	afterSync = 30 * time.Second
)

// Shutdown ends the system when it is asked to.
type Shutdown struct {
	Services *Supervisor
	// Grace is how long services have to end.
	Grace func() time.Duration
	// WithoutPowerOff is what is done where the kernel cannot power off:
	// Reboot, which ends the VM of a host that is told to expect it, or Halt.
	WithoutPowerOff func() Action
	// Begun is called when the shutdown begins; Flush when the last file can
	// still be written.
	Begun func(Action)
	Flush func()
	Log   *slog.Logger

	mu     sync.Mutex
	action Action             // zero until the first request
	hurry  context.CancelFunc // ends the grace
}

// Request asks for the end of the system and returns at once. While a shutdown
// is going on, another request ends the grace, and its action is the one that
// holds.
func (s *Shutdown) Request(a Action) {
	s.mu.Lock()
	defer s.mu.Unlock()
	begun := s.action != 0
	s.action = a
	if begun {
		s.Log.Log(context.Background(), logs.LevelNotice, "shutting down at once", "to", a.String())
		s.hurry()
		return
	}
	ctx, hurry := context.WithCancel(context.Background())
	s.hurry = hurry
	guarded.RestartOnPanic(s.Log, "shutdown", s.Services.After, func() { s.run(ctx) })
}

// run stops the services within grace, ends all other processes, writes
// everything to the disks, unmounts them, and has the kernel do the rest. It
// returns only if the kernel does none of it.
func (s *Shutdown) run(ctx context.Context) {
	grace := s.Grace()
	s.Log.Log(ctx, logs.LevelNotice, "shutting down", "to", s.Action().String(), "grace", grace)
	s.Begun(s.Action())
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	guarded.RestartOnPanic(s.Log, "grace", s.Services.After, func() {
		select {
		case <-s.Services.After(grace):
			cancel()
		case <-ctx.Done():
		}
	})
	s.Services.Stop(ctx)
	s.endAll()
	s.within(afterKill, "hear the last of the services", s.Services.finishOutput)
	s.within(afterSync, "write the log", s.Flush)
	s.within(afterSync, "sync", unix.Sync)
	s.within(afterSync, "unmount", s.unmountAll)
	s.end(s.Action())
	// The next request may fare better.
	s.mu.Lock()
	s.action = 0
	s.mu.Unlock()
}

// Action is what was asked for last; zero while nothing has been.
func (s *Shutdown) Action() Action {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.action
}

// within calls f, and does not wait longer than limit for it.
func (s *Shutdown) within(limit time.Duration, what string, f func()) {
	done := make(chan struct{})
	guarded.Go(s.Log, what, func() {
		defer close(done)
		f()
	})
	select {
	case <-done:
	case <-s.Services.After(limit):
		s.Log.Error("shutdown goes on without waiting any longer", "for", what, "after", limit)
	}
}

// endAll asks the processes that are left to end, and kills those that have not
// after afterTerm.
func (s *Shutdown) endAll() {
	_ = unix.Kill(-1, unix.SIGTERM)
	if !s.awaitAll() {
		s.Log.Warn("processes killed: they did not end in time")
	}
	_ = unix.Kill(-1, unix.SIGKILL)
	if !s.awaitAll() {
		s.Log.Warn("processes do not end even when killed")
	}
}

// awaitAll waits, for afterTerm at most, until all processes have ended. As PID 1
// this process has none but its descendants, and when it has no more children
// there are none.
func (s *Shutdown) awaitAll() bool {
	reaper := s.Services.Reaper
	reaped, late := reaper.reaped(), s.Services.After(afterTerm)
	for reaper.Reap() {
		select {
		case <-reaped:
		case <-late:
			return false
		}
	}
	return true
}

// nothingToWrite are the types of file systems that hold nothing over a reboot.
var nothingToWrite = []string{
	"proc", "sysfs", "devtmpfs", "devpts", "tmpfs", "ramfs", "rootfs", "cgroup", "cgroup2", "mqueue", "bpf",
	"debugfs", "tracefs", "securityfs", "binfmt_misc", "nsfs",
}

// unmountAll unmounts what can hold data, the last mounted first. What is still
// in use, as the root always is, becomes read-only, which writes all of it; what
// cannot become that is detached.
func (s *Shutdown) unmountAll() {
	points, err := mountPoints()
	if err != nil {
		s.Log.Warn("unmount at shutdown", "err", err)
	}
	for _, p := range slices.Backward(points) {
		if slices.Contains(nothingToWrite, p.fsType) {
			continue
		}
		if p.path != "/" && unix.Unmount(p.path, 0) == nil || p.readOnly {
			continue
		}
		err := unix.Mount("", p.path, "", unix.MS_REMOUNT|unix.MS_RDONLY, "")
		if err == nil {
			continue
		}
		s.Log.Warn("in use at shutdown, and cannot be made read-only", "mount point", p.path, "err", err)
		if p.path != "/" {
			_ = unix.Unmount(p.path, unix.MNT_DETACH)
		}
	}
	unix.Sync()
}

// end has the kernel do a.
func (s *Shutdown) end(a Action) {
	if a == PowerOff && !canPowerOff("/sys") {
		a = s.WithoutPowerOff()
		s.Log.Log(context.Background(), slog.LevelWarn, "this kernel cannot power off", "instead", a.String())
	}
	// A kernel that cannot do it halts (kernel/reboot.c); one that refuses is
	// asked for the next best.
	try := map[Action][]int{
		PowerOff: {unix.LINUX_REBOOT_CMD_POWER_OFF, unix.LINUX_REBOOT_CMD_RESTART, unix.LINUX_REBOOT_CMD_HALT},
		Reboot:   {unix.LINUX_REBOOT_CMD_RESTART, unix.LINUX_REBOOT_CMD_HALT},
		Halt:     {unix.LINUX_REBOOT_CMD_HALT},
	}[a]
	for _, cmd := range try {
		if err := unix.Reboot(cmd); err != nil {
			s.Log.Error("the kernel does not end this system", "command", fmt.Sprintf("%#x", cmd), "err", err)
		}
	}
}

// canPowerOff guesses whether the kernel has a way to cut the power; there is no
// asking it. Firmware has: ACPI's S5, or on arm64 PSCI's SYSTEM_OFF (Arm DEN0022),
// which the device tree names if there is no ACPI.
func canPowerOff(sys string) bool {
	for _, sign := range []string{"/firmware/acpi/tables", "/firmware/devicetree/base/psci"} {
		if _, err := os.Stat(sys + sign); err == nil {
			return true
		}
	}
	return false
}

type mountPoint struct {
	path, fsType string
	readOnly     bool
}

// mountPoints lists what is mounted, in the order of mounting, by
// /proc/self/mountinfo (proc(5)), which writes blanks as octals.
func mountPoints() ([]mountPoint, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("list the mount points: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read from
	var points []mountPoint
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	s := bufio.NewScanner(f)
	for s.Scan() {
		before, after, _ := strings.Cut(s.Text(), " - ")
		fields, super := strings.Fields(before), strings.Fields(after)
		if len(fields) < 6 || len(super) < 3 {
			continue
		}
		points = append(points, mountPoint{
			path: unescape.Replace(fields[4]), fsType: super[0],
			readOnly: slices.Contains(strings.Split(super[2], ","), "ro"),
		})
	}
	return points, s.Err()
}
