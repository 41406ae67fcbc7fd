package logs

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// maxRecord is the size, in bytes, of a line in the kernel log: /dev/kmsg refuses
// more than 1024 bytes less a prefix (PRINTKRB_RECORD_MAX, kernel/printk).
const maxRecord = 960

// maxPending bounds the lines that wait for /dev/kmsg to appear.
const maxPending = 256

// KernelLog writes lines to the kernel log. It keeps lines until the device can be opened.
type KernelLog struct {
	Path string // /dev/kmsg, which needs no poller: it takes a line at once

	mu      sync.Mutex
	device  int // zero until it can be opened
	pending [][]byte
}

// Emit implements Sink.
func (k *KernelLog) Emit(_ time.Time, level slog.Level, line string) {
	record := fmt.Appendf(nil, "<%d>%s", severity(level), line)
	if len(record) > maxRecord {
		record = append(record[:maxRecord-3], "..."...)
	}
	record = append(record, '\n')
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.pending) < maxPending {
		k.pending = append(k.pending, record)
	}
	if k.device == 0 {
		device, err := unix.Open(k.Path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return
		}
		k.device = device
	}
	for _, record := range k.pending {
		_, _ = unix.Write(k.device, record)
	}
	k.pending = nil
}

// The kernel's log is a ring of 128 KiB or more. Three services that write without end leave room in it.
const (
	// bytesPerSecond is what a service may write to the log for ever.
	bytesPerSecond = 1 << 10
	// burst is how long a service can save that up: 32 KiB.
	burst = 32 * time.Second
	// recordCost is what a line takes beside its text, in bytes, also for the line that counts those left out.
	recordCost = 64
)

// Bounded leaves out lines of a service that writes more than Sink should keep. Such a service gets no more
// lines in until it writes less, so that it pushes nobody else's out. One goroutine calls Emit.
type Bounded struct {
	Sink Sink

	paid time.Time // until then, the service has used what it may write
	left int       // lines left out since the last that got in
}

// Emit implements Sink.
func (b *Bounded) Emit(t time.Time, level slog.Level, line string) {
	if oldest := t.Add(-burst); b.paid.Before(oldest) {
		b.paid = oldest
	}
	b.paid = b.paid.Add(time.Duration(len(line)+recordCost) * time.Second / bytesPerSecond)
	if b.paid.After(t) {
		b.paid = t
		b.left++
		return
	}
	if b.left > 0 {
		name, _, _ := strings.Cut(line, ":")
		b.Sink.Emit(t, level, fmt.Sprintf("%s: (%d lines left out)", name, b.left))
		b.left = 0
	}
	b.Sink.Emit(t, level, line)
}

// Prefixed writes lines to W with the level prefix of sd-daemon(3), `<N>line`.
// A service logs through it to standard error; ParsePrefix reads the prefix.
type Prefixed struct{ W io.Writer }

// Emit implements Sink.
func (p Prefixed) Emit(_ time.Time, level slog.Level, line string) {
	_, _ = fmt.Fprintf(p.W, "<%d>%s\n", severity(level), line)
}

// ParsePrefix splits a line of a service into its level and the text after the
// prefix. A line without a prefix is returned unchanged, with level Info.
func ParsePrefix(line string) (slog.Level, string) {
	if len(line) < 3 || line[0] != '<' || line[1] < '0' || line[1] > '7' || line[2] != '>' {
		return slog.LevelInfo, line
	}
	return levels()[max(0, int(line[1]-'0')-worst)], line[3:]
}

// worst is the kernel's number for LevelError. The kernel has three levels above it.
const worst = 3

// levels are those of the kernel's numbers from worst to 7 (include/linux/kern_levels.h).
func levels() [5]slog.Level {
	return [...]slog.Level{slog.LevelError, slog.LevelWarn, LevelNotice, slog.LevelInfo, slog.LevelDebug}
}

// severity is the kernel's number for a level.
func severity(level slog.Level) int {
	for i, l := range levels() {
		if level >= l {
			return worst + i
		}
	}
	return 7
}
