package logs

import (
	"fmt"
	"log/slog"
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
