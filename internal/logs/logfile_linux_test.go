package logs

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestFileLogKeepsOneBoot(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log", "arcinit.log")
	boot := func(name string) {
		l := &FileLog{newSpool()}
		log := slog.New(NewHandler("arcinit", slog.LevelDebug, l))
		log.Warn("early " + name)
		if err := l.Open(path); err != nil {
			t.Fatal(err)
		}
		log.Info(name)
		l.Flush(time.Hour)
	}
	want := func(path, name string) {
		t.Helper()
		text, err := os.ReadFile(path)
		lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
		if err != nil || len(lines) != 2 ||
			!strings.HasSuffix(lines[0], " WARN  arcinit: early "+name) || !strings.HasSuffix(lines[1], " INFO  arcinit: "+name) {
			t.Errorf("%s is, in boot %s, %v\n%s", path, name, err, text)
		}
	}
	boot("first")
	want(path, "first")
	boot("second")
	want(path, "second")
	want(path+".1", "first")
	boot("third")
	want(path, "third")
	want(path+".1", "second")
}

func TestFileLogAppendsWhereItCannotRename(t *testing.T) {
	path := filepath.Join(t.TempDir(), "arcinit.log")
	if err := os.WriteFile(path, []byte("before\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(path+".1/full", 0o755); err != nil {
		t.Fatal(err)
	}
	l := &FileLog{newSpool()}
	log := slog.New(NewHandler("arcinit", slog.LevelDebug, l))
	if err := l.Open(path); err == nil {
		t.Error("no error")
	}
	log.Info("after")
	l.Flush(time.Hour)
	if text, err := os.ReadFile(path); err != nil || !strings.HasPrefix(string(text), "before\n") || !strings.HasSuffix(string(text), "after\n") {
		t.Errorf("the log is %q, %v", text, err)
	}
}

func TestFileLogIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "arcinit.log")
	l := &FileLog{newSpool()}
	log := slog.New(NewHandler("arcinit", slog.LevelDebug, l))
	if err := l.Open(path); err != nil {
		t.Fatal(err)
	}
	for range 40 {
		for range 100 {
			log.Info(strings.Repeat("x", 1000))
		}
		l.Flush(time.Hour)
	}
	for _, p := range []string{path, path + ".1"} {
		st, err := os.Stat(p)
		if err != nil || st.Size() > fileLimit {
			t.Errorf("%s: %v, %v", p, st, err)
		}
	}
}

func TestFileLogPendingIsBounded(t *testing.T) {
	l := &FileLog{newSpool()}
	log := slog.New(NewHandler("arcinit", slog.LevelDebug, l))
	for range 2000 {
		log.Info(strings.Repeat("x", 1000))
	}
	path := filepath.Join(t.TempDir(), "arcinit.log")
	if err := l.Open(path); err != nil {
		t.Fatal(err)
	}
	l.Flush(time.Hour)
	text, _ := os.ReadFile(path)
	if len(text) > spoolLimit+2000 || !bytes.Contains(text, []byte("lines lost)")) {
		t.Errorf("%d bytes were kept for the file, begin %.40q", len(text), text)
	}
}

// TestFileLogSaysOnceThatItFails has directories in the way of the log, and of the previous one.
func TestFileLogSaysOnceThatItFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "arcinit.log")
	l, said := &FileLog{newSpool()}, &FileLog{newSpool()}
	log := slog.New(NewHandler("arcinit", slog.LevelDebug, l, said))
	l.Log = log
	if err := l.Open(path); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.RemoveAll(path), os.MkdirAll(path+"/full", 0o755), os.MkdirAll(path+".1/full", 0o755)); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		log.Info("line")
		l.Flush(time.Hour)
	}
	if text := string(said.pending); strings.Count(text, path) != 1 || strings.Count(text, "WARN") != 1 {
		t.Errorf("said:\n%s", text)
	}
}
