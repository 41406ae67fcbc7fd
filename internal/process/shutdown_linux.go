package process

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
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
	// afterTerm is how long the processes that are not services have to end after SIGTERM, and again after SIGKILL.
	afterTerm = 2 * time.Second
	// afterLogs is how long the share has for the last report and the logs.
	afterLogs = 5 * time.Second
	// afterTrim is how long the disks have to give unused blocks back to the host. What is not done then is done at the next power-off.
	afterTrim = 4 * time.Second
	// afterUnmount is how long a file system may take before the next one's turn comes. It goes on meanwhile.
	afterUnmount = 500 * time.Millisecond
	// afterReboot is how long the kernel has to end the system.
	afterReboot = 2 * time.Second
)

// Shutdown ends the system on request.
type Shutdown struct {
	Services *Supervisor
	// Limit is how long a shutdown may take.
	Limit func() time.Duration
	// WithoutPowerOff returns what to do where the kernel cannot power off: Reboot, for a host that takes it as the end of the VM, or Halt.
	WithoutPowerOff func() Action
	// Begun is called when the shutdown begins, Trim when no process writes to the disks any more, with how much time it has,
	// and Flush when files can be written for the last time.
	Begun func(Action)
	Trim  func(left func() time.Duration)
	Flush func()
	// Last is called when all is unmounted and said, just before the kernel ends the system.
	Last func()
	Log  *slog.Logger

	mu     sync.Mutex
	action Action             // zero until the first request
	hurry  context.CancelFunc // ends the grace
}

// Request starts a shutdown and returns at once. A request during a shutdown ends the grace and replaces the action.
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

// run ends all processes, writes everything to the disks, unmounts them, and asks the kernel to end the system.
// It returns only if the kernel refuses.
func (s *Shutdown) run(ctx context.Context) {
	limit := s.Limit()
	// The kernel has the last tenth. Each stage takes at most a part of what is left: whatever hangs leaves time for the rest.
	left := s.timer(limit * 9 / 10)
	s.Log.Log(ctx, logs.LevelNotice, "shutting down", "to", s.Action().String(), "limit", limit)
	s.Begun(s.Action())
	ctx, cancel := context.WithTimeout(ctx, left()*2/3)
	defer cancel()
	s.within(left()*2/3+afterKill, "services to end", func() { s.Services.Stop(ctx) })
	// All other processes are children of PID 1 once their parents have ended.
	_ = unix.Kill(-1, unix.SIGTERM)
	s.within(min(left()/4, afterTerm), "processes to end after SIGTERM", s.Services.Reaper.reapAll)
	_ = unix.Kill(-1, unix.SIGKILL)
	s.within(min(left()/4, afterTerm), "processes to end after SIGKILL", s.Services.Reaper.reapAll)
	s.within(min(left()/4, afterKill), "copying the services' output", s.Services.finishOutput)
	if trim := min(left()/4, afterTrim); s.Action() == PowerOff {
		s.within(trim, "trimming the disks", func() { s.Trim(s.timer(trim / 2)) })
	}
	s.unmount(left()*2/3, false)
	s.within(min(left()/2, afterLogs), "writing the logs", s.Flush)
	s.unmount(min(left(), afterLogs), true)
	s.end(s.Action())
	// Another request starts a new shutdown.
	s.mu.Lock()
	s.action = 0
	s.mu.Unlock()
}

// timer returns how much is left of a time that begins now.
func (s *Shutdown) timer(limit time.Duration) (left func() time.Duration) {
	end := s.Services.Uptime() + limit
	return func() time.Duration { return max(end-s.Services.Uptime(), 0) }
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

// unmount unmounts the shares, or all other file systems that keep data, the last mounted first. What has not
// answered when the limit has passed is left.
func (s *Shutdown) unmount(limit time.Duration, shares bool) {
	volatile := []string{ // they lose their content at power-off anyway
		"proc", "sysfs", "devtmpfs", "devpts", "tmpfs", "ramfs", "rootfs", "cgroup", "cgroup2", "mqueue", "bpf",
		"debugfs", "tracefs", "securityfs", "binfmt_misc", "nsfs",
	}
	mounts, err := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) {
		return isShare(m.FSType) != shares || slices.Contains(volatile, m.FSType), false
	})
	if err != nil {
		s.Log.Warn("cannot list the mount points", "err", err)
	}
	var unmounting sync.WaitGroup
	left := s.timer(limit)
	for _, m := range slices.Backward(mounts) {
		unmounting.Add(1)
		s.within(min(left(), afterUnmount), "the file system on "+m.Mountpoint, func() {
			defer unmounting.Done()
			s.unmountOne(m)
		})
	}
	s.within(left(), "all file systems", unmounting.Wait)
}

// isShare reports whether a file system's data is on another machine, which may not answer.
func isShare(fsType string) bool {
	return fsType == "fuse" || strings.HasPrefix(fsType, "fuse.") ||
		slices.Contains([]string{"virtiofs", "9p", "nfs", "nfs4", "cifs", "smb3", "ceph", "vboxsf"}, fsType)
}

// unmountOne unmounts a file system. One in use, such as the root, becomes read-only, which writes all of it. If
// that fails it is written and detached.
func (s *Shutdown) unmountOne(m *mountinfo.Info) {
	isRoot := m.Mountpoint == "/"
	if !isRoot && mount.Unmount(m.Mountpoint, false, false) == nil || slices.Contains(strings.Split(m.VFSOptions, ","), "ro") {
		return
	}
	err := unix.Mount("", m.Mountpoint, "", unix.MS_REMOUNT|unix.MS_RDONLY, "")
	if err == nil {
		return
	}
	s.Log.Warn("file system is in use and cannot be made read-only", "mountpoint", m.Mountpoint, "err", err)
	if dir, err := os.Open(m.Mountpoint); err == nil {
		_ = unix.Syncfs(int(dir.Fd()))
		_ = dir.Close()
	}
	if !isRoot {
		_ = mount.Unmount(m.Mountpoint, false, true)
	}
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
	ways := []Action{a, Halt}
	if a == PowerOff {
		ways = []Action{PowerOff, s.WithoutPowerOff(), Halt}
	}
	for _, a := range slices.Compact(ways) {
		s.within(afterReboot, a.String(), func() {
			s.Log.Info("asking the kernel to end the system", "by", a.String())
			err := unix.Reboot(commands[a])
			s.Log.Error("the kernel did not shut down", "tried", a.String(), "err", err)
		})
	}
}

// canPowerOff reports whether the kernel can cut the power, which it does not say. It needs ACPI's state S5
// (package _S5 in the tables, section 7.4.2 of the specification), which Firecracker's ACPI lacks, or PSCI's SYSTEM_OFF
// (Arm DEN0022): the device tree names PSCI, or a flag in the FADT does (section 5.2.9.4).
func canPowerOff(sys string) bool {
	const armBootFlags, psciCompliant = 129, 1
	tables := sys + "/firmware/acpi/tables/"
	fadt, _ := os.ReadFile(tables + "FACP")
	if len(fadt) > armBootFlags && fadt[armBootFlags]&psciCompliant != 0 {
		return true
	}
	files, _ := filepath.Glob(tables + "[DS]SDT*")
	for _, file := range files {
		if aml, err := os.ReadFile(file); err == nil && bytes.Contains(aml, []byte("_S5_")) {
			return true
		}
	}
	_, err := os.Stat(sys + "/firmware/devicetree/base/psci")
	return err == nil
}
