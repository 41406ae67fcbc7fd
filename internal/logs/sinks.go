package logs

import (
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"
)

// maxRecord is the size, in bytes, of a line in the kernel log: /dev/kmsg refuses
// more than 1024 bytes less a prefix (PRINTKRB_RECORD_MAX, kernel/printk).
const maxRecord = 960

// maxPending bounds the lines that wait for /dev/kmsg to appear.
const maxPending = 256

// KernelLog writes lines to the kernel log. It keeps lines until the device can be opened.
type KernelLog struct {
	// Open opens /dev/kmsg.
	Open func() (io.Writer, error)

	mu      sync.Mutex
	device  io.Writer
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
	if k.device == nil {
		device, err := k.Open()
		if err != nil {
			return
		}
		k.device = device
	}
	for _, record := range k.pending {
		_, _ = k.device.Write(record)
	}
	k.pending = nil
}
