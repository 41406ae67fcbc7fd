package process

import (
	"context"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/arcinit/arcinit/internal/guarded"
	"github.com/arcinit/arcinit/internal/logs"
	"github.com/moby/sys/mountinfo"
	"github.com/u-root/u-root/pkg/mount"
	"golang.org/x/sys/unix"
)

// Action is how a shutdown ends.
type Action int

// The actions, in the order in which the kernel is asked if it refuses one.
const (
	PowerOff Action = iota + 1
	Reboot
	Halt
)

func (a Action) String() string {
	return map[Action]string{PowerOff: "power off", Reboot: "reboot", Halt: "halt"}[a]
}

// ActionFor returns the action that a signal to PID 1 asks for, zero for none. It knows the signals of
// busybox's init (USR1, USR2, TERM, INT) and of systemd (SIGRTMIN+3 to +5; SIGRTMIN is 34, signal(7)).
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
	// afterTerm is how long the processes that are not services have to end after
	// SIGTERM, and again after SIGKILL.
	afterTerm = 2 * time.Second
	// afterSync is how long writing to disks and shares, or unmounting them, may
	// take: their host may not answer.
	afterSync = 30 * time.Second
)

// Shutdown ends the system on request.
type Shutdown struct {
	Services *Supervisor
	// Grace is how long services have to end.
	Grace func() time.Duration
	// WithoutPowerOff returns what to do where the kernel cannot power off:
	// Reboot, for a host that takes it as the end of the VM, or Halt.
	WithoutPowerOff func() Action
	// Begun is called when the shutdown begins, Flush when files can be written for the last time.
	Begun func(Action)
	Flush func()
	// Last is called when all is unmounted and said, just before the kernel ends the system.
	Last func()
	Log  *slog.Logger

	mu     sync.Mutex
	action Action             // zero until the first request
	hurry  context.CancelFunc // ends the grace
}

// Request starts a shutdown and returns at once. A request during a shutdown
// ends the grace and replaces the action.
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

// Action returns the action last requested, zero before the first request.
func (s *Shutdown) Action() Action {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.action
}

// run ends all processes, writes everything to the disks, unmounts them, and
// asks the kernel to end the system. It returns only if the kernel refuses.
func (s *Shutdown) run(ctx context.Context) {
	grace := s.Grace()
	s.Log.Log(ctx, logs.LevelNotice, "shutting down", "to", s.Action().String(), "grace", grace)
	s.Begun(s.Action())
	ctx, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	s.Services.Stop(ctx)
	// All other processes are children of PID 1 once their parents have ended.
	_ = unix.Kill(-1, unix.SIGTERM)
	s.within(afterTerm, "processes to end after SIGTERM", s.Services.Reaper.reapAll)
	_ = unix.Kill(-1, unix.SIGKILL)
	s.within(afterTerm, "processes to end after SIGKILL", s.Services.Reaper.reapAll)
	s.within(afterKill, "copying the services' output", s.Services.finishOutput)
	s.within(afterSync, "writing the log", s.Flush)
	s.within(afterSync, "sync", unix.Sync)
	s.within(afterSync, "unmount", s.unmountAll)
	s.end(s.Action())
	// Another request starts a new shutdown.
	s.mu.Lock()
	s.action = 0
	s.mu.Unlock()
}

// within calls f and waits for it, but no longer than limit.
func (s *Shutdown) within(limit time.Duration, what string, f func()) {
	done := make(chan struct{})
	guarded.Go(s.Log, what, func() {
		defer close(done)
		f()
	})
	select {
	case <-done:
	case <-s.Services.After(limit):
		s.Log.Warn("shutdown continues without waiting any longer", "for", what, "waited", limit)
	}
}

// unmountAll unmounts the file systems that keep data, the last mounted first. One in use, such as the
// root, becomes read-only, which writes all of it. If that fails it is detached.
func (s *Shutdown) unmountAll() {
	volatile := []string{ // they lose their content at power-off anyway
		"proc", "sysfs", "devtmpfs", "devpts", "tmpfs", "ramfs", "rootfs", "cgroup", "cgroup2", "mqueue", "bpf",
		"debugfs", "tracefs", "securityfs", "binfmt_misc", "nsfs",
	}
	mounts, err := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) { return slices.Contains(volatile, m.FSType), false })
	if err != nil {
		s.Log.Warn("cannot list the mount points", "err", err)
	}
	for _, m := range slices.Backward(mounts) {
		isRoot := m.Mountpoint == "/"
		if !isRoot && mount.Unmount(m.Mountpoint, false, false) == nil || slices.Contains(strings.Split(m.VFSOptions, ","), "ro") {
			continue
		}
		err := unix.Mount("", m.Mountpoint, "", unix.MS_REMOUNT|unix.MS_RDONLY, "")
		if err == nil {
			continue
		}
		s.Log.Warn("file system is in use and cannot be made read-only", "mountpoint", m.Mountpoint, "err", err)
		if !isRoot {
			_ = mount.Unmount(m.Mountpoint, false, true)
		}
	}
	unix.Sync()
}

// end asks the kernel for the action, and for those after it if it refuses.
func (s *Shutdown) end(a Action) {
	if a == PowerOff && !canPowerOff("/sys") {
		a = s.WithoutPowerOff()
		s.Log.Warn("this kernel cannot power off", "instead", a.String())
	}
	s.Last()
	commands := map[Action]int{
		PowerOff: unix.LINUX_REBOOT_CMD_POWER_OFF, Reboot: unix.LINUX_REBOOT_CMD_RESTART, Halt: unix.LINUX_REBOOT_CMD_HALT,
	}
	for ; a <= Halt; a++ {
		if err := unix.Reboot(commands[a]); err != nil {
			s.Log.Error("the kernel did not shut down", "tried", a.String(), "err", err)
		}
	}
}

// canPowerOff guesses whether the kernel can cut the power, which it does not say. It needs ACPI's S5, or
// on arm64 PSCI's SYSTEM_OFF (Arm DEN0022), which the device tree names where there is no ACPI.
func canPowerOff(sys string) bool {
	_, errACPI := os.Stat(sys + "/firmware/acpi/tables")
	_, errPSCI := os.Stat(sys + "/firmware/devicetree/base/psci")
	return errACPI == nil || errPSCI == nil
}
