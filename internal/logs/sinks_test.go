package logs

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestKernelLogKeepsEarlyLines(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kmsg")
	log := slog.New(NewHandler("arcinit", slog.LevelDebug, &KernelLog{Path: path}))
	log.Info("early", "took", 3*time.Millisecond)
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	log.Error("late", "a", 1)
	want := "<6>arcinit: early took=3ms\n<3>arcinit: late a=1\n"
	if got, err := os.ReadFile(path); err != nil || string(got) != want {
		t.Errorf("kernel log got %q, %v, want %q", got, err, want)
	}
}

func TestKernelLogCutsLongRecords(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kmsg")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	slog.New(NewHandler("arcinit", slog.LevelDebug, &KernelLog{Path: path})).Info(strings.Repeat("x", 5000))
	got, err := os.ReadFile(path)
	if err != nil || len(got) > maxRecord+1 || !strings.HasSuffix(string(got), "...\n") {
		t.Errorf("record of %d bytes, %v", len(got), err)
	}
}
