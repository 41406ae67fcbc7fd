package logs

import (
	"fmt"
	"log/slog"
	"strings"
	"time"
)

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
