package logs

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
)

// LevelNotice is for the few lines that belong on the console however quiet it
// is; it stands between slog's Info and Warn, as the kernel's notice does.
const LevelNotice = slog.Level(2)

// Sink takes finished log lines, tag first and without a newline. It must not
// block for long and has no one to tell of an error.
type Sink interface {
	Emit(t time.Time, level slog.Level, line string)
}

// Handler is a slog.Handler that writes `tag: message key=value ...` to sinks.
type Handler struct {
	tag    string
	level  slog.Leveler
	sinks  []Sink
	attrs  string // already formatted
	prefix string // of keys, from WithGroup
}

// NewHandler returns a handler for records from level up. The tag names the
// program that logs; with an empty tag, lines begin with the message.
func NewHandler(tag string, level slog.Leveler, sinks ...Sink) *Handler {
	if tag != "" {
		tag += ": "
	}
	return &Handler{tag: tag, level: level, sinks: sinks}
}

// Enabled implements slog.Handler.
func (h *Handler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= h.level.Level()
}

// Handle implements slog.Handler.
func (h *Handler) Handle(_ context.Context, r slog.Record) error {
	var line strings.Builder
	line.WriteString(h.tag + oneLine(r.Message))
	line.WriteString(h.attrs)
	r.Attrs(func(a slog.Attr) bool {
		writeAttr(&line, h.prefix, a)
		return true
	})
	for _, s := range h.sinks {
		s.Emit(r.Time, r.Level, line.String())
	}
	return nil
}

// WithAttrs implements slog.Handler.
func (h *Handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	var text strings.Builder
	text.WriteString(h.attrs)
	for _, a := range attrs {
		writeAttr(&text, h.prefix, a)
	}
	with := *h
	with.attrs = text.String()
	return &with
}

// WithGroup implements slog.Handler.
func (h *Handler) WithGroup(name string) slog.Handler {
	with := *h
	if name != "" {
		with.prefix += name + "."
	}
	return &with
}

func writeAttr(b *strings.Builder, prefix string, a slog.Attr) {
	value := a.Value.Resolve()
	if value.Kind() == slog.KindGroup {
		if a.Key != "" {
			prefix += a.Key + "."
		}
		for _, sub := range value.Group() {
			writeAttr(b, prefix, sub)
		}
		return
	}
	if a.Key == "" {
		return
	}
	text := oneLine(value.String())
	if text == "" || strings.ContainsAny(text, " \"=") {
		text = fmt.Sprintf("%q", text)
	}
	b.WriteString(" " + prefix + a.Key + "=" + text)
}

// oneLine puts what came as several lines, joined errors and stacks, on one. Other
// control characters mean something to the terminal that shows the log.
func oneLine(s string) string {
	s = strings.ReplaceAll(strings.TrimSpace(s), "\n", "; ")
	return strings.Map(func(r rune) rune {
		if r != '\t' && unicode.IsControl(r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

// maxRecord is how much of a line one kernel log record holds: /dev/kmsg refuses
// more than 1024 bytes less a prefix (PRINTKRB_RECORD_MAX, kernel/printk).
const maxRecord = 960

// maxPending is how many lines wait for a device that is not there yet.
const maxPending = 256

// KernelLog writes lines to the kernel log. Those that come before the device
// can be opened are kept for it.
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
	if k.device == nil {
		device, err := k.Open()
		if err != nil {
			if len(k.pending) < maxPending {
				k.pending = append(k.pending, record)
			}
			return
		}
		k.device = device
		for _, early := range k.pending {
			_, _ = device.Write(early)
		}
		k.pending = nil
	}
	_, _ = k.device.Write(record)
}

// Console shows lines from LevelNotice up where the kernel, told to be quiet,
// would not print them from its log.
type Console struct {
	// Loglevel is the kernel's console_loglevel: it prints what is below.
	Loglevel func() int
	// Open opens /dev/console for one line.
	Open func() (io.WriteCloser, error)
}

// Emit implements Sink.
func (c *Console) Emit(_ time.Time, level slog.Level, line string) {
	if level < LevelNotice || severity(level) < c.Loglevel() {
		return
	}
	if console, err := c.Open(); err == nil {
		_, _ = fmt.Fprintln(console, line)
		_ = console.Close()
	}
}

// tail keeps the newest lines that fit into size bytes.
type tail struct {
	lines []string
	bytes int
	lost  int
}

func (t *tail) add(line string, size int) {
	t.lines = append(t.lines, line)
	t.bytes += len(line)
	for t.bytes > size && len(t.lines) > 1 {
		t.bytes -= len(t.lines[0])
		t.lines = slices.Delete(t.lines, 0, 1)
		t.lost++
	}
}

// take empties t.
func (t *tail) take() []byte {
	var text strings.Builder
	if t.lost > 0 {
		fmt.Fprintf(&text, "(%d lines lost)\n", t.lost)
	}
	for _, line := range t.lines {
		text.WriteString(line)
	}
	*t = tail{}
	return []byte(text.String())
}
