package main

import (
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/arcinit/arcinit/internal/logs"
	"github.com/arcinit/arcinit/pkg/arcsetup"
	"golang.org/x/sys/unix"
)

// logging is where PID 1 logs: the kernel log, the console, and files on the share.
type logging struct {
	*slog.Logger
	level   slog.LevelVar
	kernel  *logs.KernelLog
	console *logs.Console
	file    *logs.FileLog
	// output keeps the services' output apart from file, so that a service that
	// writes a lot does not push arcinit's own lines out.
	output *logs.FileLog
}

// newLogging returns loggers that keep what must go to the files until start.
func newLogging(tag string) *logging {
	l := &logging{
		kernel: &logs.KernelLog{Open: openKernelLog},
		console: &logs.Console{Loglevel: consoleLoglevel, Open: func() (io.WriteCloser, error) {
			return os.OpenFile("/dev/console", os.O_WRONLY|unix.O_NOCTTY, 0)
		}},
		file:   &logs.FileLog{After: time.After},
		output: &logs.FileLog{After: time.After},
	}
	l.Logger = slog.New(logs.NewHandler(tag, &l.level, l.sinks()...))
	return l
}

// sinks are the logs of PID 1's own lines and the network daemon's.
func (l *logging) sinks() []logs.Sink { return []logs.Sink{l.kernel, l.console, l.file} }

// start begins to write the files on the share, which is mounted.
func (l *logging) start() error {
	return errors.Join(l.file.Start(l.Logger, arcsetup.LogPath), l.output.Start(l.Logger, arcsetup.OutputPath))
}

// flush returns when the host has every line so far.
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

// kmsg is the kernel log without its rate limit. By default the kernel drops all
// but ten lines in five seconds (Documentation/admin-guide/sysctl/kernel.rst,
// printk_devkmsg).
type kmsg struct {
	device io.Writer
	limit  string // path of the parameter
	lifted bool   // or the kernel has refused that
}

// Write lifts the limit as soon as /proc is there, which may be later than the
// device. The kernel refuses if its command line fixes the limit.
func (k *kmsg) Write(line []byte) (int, error) {
	if !k.lifted {
		err := os.WriteFile(k.limit, []byte("on\n"), 0)
		k.lifted = !errors.Is(err, fs.ErrNotExist)
	}
	return k.device.Write(line)
}

// consoleLoglevel is the first number of /proc/sys/kernel/printk, or the kernel's
// default before /proc is mounted.
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
