package uinit

import (
	"log/slog"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/arcinit/arcinit/internal/kernelfile"
	"github.com/arcinit/arcinit/internal/logs"
	"github.com/arcinit/arcinit/internal/process"
)

// logging is where PID 1 logs: the kernel log, the console, and files on the share.
type logging struct {
	*slog.Logger
	level   slog.LevelVar
	kernel  *logs.KernelLog
	console *logs.Console
	file    *logs.FileLog
	// output keeps the services' output apart from file, so that a service that writes a lot does not push arcinit's own lines out.
	output *logs.FileLog
}

// newLogging returns a logging that keeps the lines for the files until the step log starts to write them.
func newLogging(tag string) *logging {
	l := &logging{
		kernel:  &logs.KernelLog{Path: "/dev/kmsg"},
		console: &logs.Console{Loglevel: consoleLoglevel}, file: &logs.FileLog{}, output: &logs.FileLog{},
	}
	l.Logger = slog.New(logs.NewHandler(tag, &l.level, l.sinks()...))
	for _, spool := range []*logs.Spool{&l.console.Spool, &l.file.Spool, &l.output.Spool} {
		spool.After, spool.Log = time.After, l.Logger
	}
	l.console.Start(writeConsole)
	return l
}

// writeConsole writes a text to the console, whatever device that is now.
func writeConsole(text []byte) {
	if console, err := process.OpenTerminal("/dev/console", os.O_WRONLY); err == nil {
		_, _ = console.Write(text)
		_ = console.Close()
	}
}

// sinks are the logs of PID 1's own lines and the network daemon's.
func (l *logging) sinks() []logs.Sink { return []logs.Sink{l.kernel, l.console, l.file} }

// consoleLoglevel is the first number of /proc/sys/kernel/printk. Without /proc there is no /dev/kmsg either, and the kernel prints no line.
func consoleLoglevel() int {
	text, _ := kernelfile.Read("/proc/sys/kernel/printk")
	first, _, _ := strings.Cut(text, "\t")
	n, _ := strconv.Atoi(first)
	return n
}
