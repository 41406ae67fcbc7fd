// Package logs formats log records and writes them to the kernel log, the console and files on a share. It must not know who logs what.
package logs

import (
	"context"
	"log/slog"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// LevelNotice is for the few lines that the console shows even when the kernel is quiet. Like the kernel's notice,
// this level lies between slog's Info and Warn.
const LevelNotice = slog.Level(2)

// Sink takes finished log lines without a newline. Emit must not block for long and has nowhere to report an error.
type Sink interface {
	Emit(t time.Time, level slog.Level, line string)
}

// Handler is a slog.Handler that sends lines `tag: message key=value ...` to sinks. It is slog's TextHandler but for the beginning of the line.
type Handler struct {
	tag   string
	level slog.Leveler
	sinks []Sink
	// derive adds the attributes and groups of the logger to a TextHandler.
	derive func(slog.Handler) slog.Handler
}

// NewHandler returns a handler for records of this level and above. The tag
// names the program that logs; with an empty tag, lines begin with the message.
func NewHandler(tag string, level slog.Leveler, sinks ...Sink) *Handler {
	if tag != "" {
		tag += ": "
	}
	return &Handler{tag: tag, level: level, sinks: sinks, derive: func(text slog.Handler) slog.Handler { return text }}
}

// Enabled implements slog.Handler.
func (h *Handler) Enabled(_ context.Context, level slog.Level) bool { return level >= h.level.Level() }

// Handle implements slog.Handler.
func (h *Handler) Handle(ctx context.Context, r slog.Record) error {
	var attrs strings.Builder
	err := h.derive(slog.NewTextHandler(&attrs, &slog.HandlerOptions{ReplaceAttr: replaceAttr})).Handle(ctx, r)
	line := strings.TrimRight(h.tag+Escape(oneLine(r.Message))+" "+attrs.String(), " \n")
	for _, s := range h.sinks {
		s.Emit(r.Time, r.Level, line)
	}
	return err
}

// WithAttrs implements slog.Handler.
func (h *Handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	with := *h
	with.derive = func(text slog.Handler) slog.Handler { return h.derive(text).WithAttrs(attrs) }
	return &with
}

// WithGroup implements slog.Handler.
func (h *Handler) WithGroup(name string) slog.Handler {
	with := *h
	with.derive = func(text slog.Handler) slog.Handler { return h.derive(text).WithGroup(name) }
	return &with
}

// replaceAttr drops what a line has elsewhere and puts text of several lines, such as joined errors, on one.
func replaceAttr(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey || a.Key == slog.MessageKey) {
		return slog.Attr{}
	}
	if kind := a.Value.Kind(); kind == slog.KindString || kind == slog.KindAny {
		a.Value = slog.StringValue(oneLine(a.Value.String()))
	}
	return a
}

// oneLine joins the lines of a text, such as joined errors or a stack.
func oneLine(s string) string { return strings.ReplaceAll(strings.TrimSpace(s), "\n", "; ") }

// Escape spells what a terminal could obey, or is no text at all, as a Go string does: "\x1b".
func Escape(s string) string {
	var b strings.Builder
	for len(s) > 0 {
		r, size := utf8.DecodeRuneInString(s)
		if isText := strconv.IsPrint(r) && (r != utf8.RuneError || size > 1); isText || r == '\t' {
			b.WriteString(s[:size])
		} else {
			b.WriteString(strings.Trim(strconv.Quote(s[:size]), `"`))
		}
		s = s[size:]
	}
	return b.String()
}
