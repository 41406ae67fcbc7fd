package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/arcinit/arcinit/internal/logs"
	"github.com/arcinit/arcinit/internal/process"
	"github.com/arcinit/arcinit/pkg/arcsetup"
	"golang.org/x/sys/unix"
)

// logging is where a role says what it does.
type logging struct {
	*slog.Logger
	level   slog.LevelVar
	kernel  *logs.KernelLog
	console *logs.Console
	file    *logs.FileLog
	// output is where what the services say is kept, apart from the rest, so
	// that one which says a lot pushes nothing of it out.
	output *logs.FileLog
}

// newLogging logs to the kernel log, the console, and, once it is started, to
// the file on the share.
func newLogging(tag string) *logging {
	l := &logging{
		kernel: &logs.KernelLog{Open: openKernelLog},
		console: &logs.Console{Loglevel: consoleLoglevel, Open: func() (io.WriteCloser, error) {
			return os.OpenFile("/dev/console", os.O_WRONLY|unix.O_NOCTTY, 0)
		}},
		file:   &logs.FileLog{After: time.After},
		output: &logs.FileLog{After: time.After},
	}
	l.Logger = slog.New(logs.NewHandler(tag, &l.level, l.kernel, l.console, l.file))
	return l
}

// start begins to write the files on the share.
func (l *logging) start() error {
	return errors.Join(l.file.Start(l.Logger, arcsetup.LogPath), l.output.Start(l.Logger, arcsetup.OutputPath))
}

// flush returns when the host has all that was said so far.
func (l *logging) flush() {
	l.file.Flush()
	l.output.Flush()
}

func openKernelLog() (io.Writer, error) {
	device, err := os.OpenFile("/dev/kmsg", os.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	return &kmsg{device: device, limit: "/proc/sys/kernel/printk_devkmsg"}, nil
}

// kmsg is the kernel log without a limit: else the kernel drops all but ten lines
// in five seconds (Documentation/admin-guide/sysctl/kernel.rst, printk_devkmsg).
type kmsg struct {
	device io.Writer
	limit  string // the kernel's parameter
	asked  bool
}

// Write lifts the limit once /proc is there, which may be later than the device.
// A command line that says otherwise has fixed it, and is obeyed.
func (k *kmsg) Write(line []byte) (int, error) {
	if !k.asked {
		err := os.WriteFile(k.limit, []byte("on\n"), 0)
		k.asked = !errors.Is(err, fs.ErrNotExist)
	}
	return k.device.Write(line)
}

// consoleLoglevel is the first number of /proc/sys/kernel/printk; before that
// can be read, the kernel's default.
func consoleLoglevel() int {
	text, _ := os.ReadFile("/proc/sys/kernel/printk")
	if fields := strings.Fields(string(text)); len(fields) > 0 {
		if n, err := strconv.Atoi(fields[0]); err == nil {
			return n
		}
	}
	return 7
}

// uptime is the time since the kernel's boot.
func uptime() time.Duration {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		return 0
	}
	return time.Duration(now.Nano())
}

func kernelRelease() string {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(uts.Release[:]) + " " + unix.ByteSliceToString(uts.Machine[:])
}

// modprobe is the role that is asked for when a module is lacking: by the kernel,
// as `modprobe -q -- MODULE`, and by iptables-legacy, as `modprobe MODULE -q`. The
// first argument is the script through which they ask.
func modprobe(args []string) error {
	args = slices.DeleteFunc(args, func(arg string) bool { return strings.HasPrefix(arg, "-") })
	if len(args) != 2 {
		return fmt.Errorf("modprobe: %q do not name a module", args)
	}
	return arcsetup.Modprobe(args[1])
}

// requestShutdown asks the process that looks after this system, as anyone can
// who may send it a signal.
func requestShutdown(what string) error {
	owner, err := process.Owner()
	if err != nil {
		return err
	}
	sig := map[string]syscall.Signal{"poweroff": syscall.SIGUSR2, "reboot": syscall.SIGTERM}[what]
	if err := syscall.Kill(owner, sig); err != nil {
		return fmt.Errorf("ask process %d to %s: %w", owner, what, err)
	}
	return nil
}
