package logs

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestFileLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log", "arcinit.log")
	read := func(p string) string {
		text, _ := os.ReadFile(p)
		return string(text)
	}
	boot := func(line string) {
		// Whichever process comes first, and however often: both write to one file.
		dir := t.TempDir()
		for _, process := range []string{"netd", "arcinit", "netd"} {
			l := &FileLog{Boot: dir}
			log := slog.New(NewHandler(process, slog.LevelDebug, l))
			log.Warn("early " + line)
			if err := l.Start(log, path); err != nil {
				t.Fatal(err)
			}
			log.Info(line)
			l.Flush()
		}
		text := read(path)
		for _, want := range []string{"netd: early " + line, "netd: " + line, "arcinit: early " + line, "arcinit: " + line} {
			if !strings.Contains(text, want+"\n") {
				t.Errorf("no line %q in the log file\n%s", want, text)
			}
		}
	}
	boot("first")
	if got := read(path); !strings.Contains(got, "WARN  arcinit: early first\n") || !strings.Contains(got, "INFO  arcinit: first\n") {
		t.Errorf("log file is %q", got)
	}
	boot("second")
	if got := read(path); strings.Contains(got, "first") || !strings.Contains(got, "second") {
		t.Errorf("log file of the second boot is %q", got)
	}
	if got := read(path + ".1"); strings.Count(got, "netd: first") != 2 || !strings.Contains(got, "arcinit: first") {
		t.Errorf("the first boot's log is %q", got)
	}
	boot("third")
	if got := read(path + ".1"); strings.Contains(got, "first") {
		t.Errorf("a log older than one boot is kept: %q", got)
	}
}

func TestFileLogIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "arcinit.log")
	l := &FileLog{Boot: t.TempDir()}
	log := slog.New(NewHandler("arcinit", slog.LevelDebug, l))
	if err := l.Start(log, path); err != nil {
		t.Fatal(err)
	}
	for range 40 {
		for range 100 {
			log.Info(strings.Repeat("x", 1000))
		}
		l.Flush()
	}
	for _, p := range []string{path, path + ".1"} {
		st, err := os.Stat(p)
		if err != nil || st.Size() > fileLimit {
			t.Errorf("%s: %v, %v", p, st, err)
		}
	}
}

// TestFileLogFullForTwo has a process find the file full while another is about
// to put it aside.
func TestFileLogFullForTwo(t *testing.T) {
	path, boot := filepath.Join(t.TempDir(), "arcinit.log"), t.TempDir()
	full := strings.Repeat("full\n", fileLimit/5)
	if err := os.WriteFile(path, []byte(full), 0o644); err != nil {
		t.Fatal(err)
	}
	first, second := &FileLog{Boot: boot}, &FileLog{Boot: boot, path: path}
	second.Emit(time.Time{}, slog.LevelInfo, "second")
	flushed := make(chan struct{})
	if err := first.putAside(path, func(lock *os.File) bool {
		go func() { second.Flush(); close(flushed) }()
		untilLocked(t, lock)
		if err := os.Rename(path, path+".1"); err != nil {
			t.Error(err)
		}
		if err := os.WriteFile(path, []byte("first\n"), 0o644); err != nil {
			t.Error(err)
		}
		return false // it is done
	}); err != nil {
		t.Fatal(err)
	}
	<-flushed
	if text, err := os.ReadFile(path + ".1"); err != nil || string(text) != full {
		t.Errorf("put aside were %d bytes, %v, want %d", len(text), err, len(full))
	}
	if text, err := os.ReadFile(path); err != nil || !strings.HasPrefix(string(text), "first\n") || !strings.HasSuffix(string(text), "second\n") {
		t.Errorf("the log is %d bytes, %v, want two lines", len(text), err)
	}
}

// untilLocked waits until somebody waits for the lock on a file.
func untilLocked(t *testing.T, lock *os.File) {
	t.Helper()
	st, err := lock.Stat()
	if err != nil {
		t.Fatal(err)
	}
	// proc_locks(5) has who waits below the one waited for, with an arrow.
	waiting := regexp.MustCompile(fmt.Sprintf(`(?m)^\d+: +-> FLOCK .*:%d 0 EOF`, st.Sys().(*syscall.Stat_t).Ino))
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		locks, err := os.ReadFile("/proc/locks")
		if err != nil {
			t.Fatal(err)
		}
		if waiting.Match(locks) {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("nobody waits for the lock:\n%s", locks)
		}
	}
}

func TestFileLogPendingIsBounded(t *testing.T) {
	l := &FileLog{Boot: t.TempDir()}
	log := slog.New(NewHandler("arcinit", slog.LevelDebug, l))
	for range 2000 {
		log.Info(strings.Repeat("x", 1000))
	}
	path := filepath.Join(t.TempDir(), "arcinit.log")
	if err := l.Start(log, path); err != nil {
		t.Fatal(err)
	}
	l.Flush()
	text, _ := os.ReadFile(path)
	if len(text) > pendingLimit+2000 || !bytes.Contains(text, []byte("lines lost)")) {
		t.Errorf("%d bytes were kept for the file, begin %.40q", len(text), text)
	}
}
