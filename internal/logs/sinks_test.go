package logs

import (
	"bytes"
	"io"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"
)

func TestKernelLogKeepsEarlyLines(t *testing.T) {
	var device bytes.Buffer
	ready := false
	k := &KernelLog{Open: func() (io.Writer, error) {
		if !ready {
			return nil, os.ErrNotExist
		}
		return &device, nil
	}}
	log := slog.New(NewHandler("arcinit", slog.LevelDebug, k))
	log.Info("early", "took", 3*time.Millisecond)
	ready = true
	log.Error("late", "a", 1)
	want := "<6>arcinit: early took=3ms\n<3>arcinit: late a=1\n"
	if got := device.String(); got != want {
		t.Errorf("kernel log got %q, want %q", got, want)
	}
}

func TestKernelLogCutsLongRecords(t *testing.T) {
	var device bytes.Buffer
	k := &KernelLog{Open: func() (io.Writer, error) { return &device, nil }}
	slog.New(NewHandler("arcinit", slog.LevelDebug, k)).Info(strings.Repeat("x", 5000))
	if device.Len() > maxRecord+1 || !strings.HasSuffix(device.String(), "...\n") {
		t.Errorf("record of %d bytes ends %q", device.Len(), device.String()[device.Len()-5:])
	}
}
