package notify

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func unixAddress(t *testing.T) Address {
	t.Helper()
	return Address{network: "unix", name: filepath.Join(t.TempDir(), "s")}
}

func TestDatagram(t *testing.T) {
	a := unixAddress(t)
	conn, err := net.ListenPacket("unixgram", a.name)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // a test's socket
	for _, message := range []string{"READY=1\nSTATUS=up\n", "STOPPING=1\n"} {
		if err := send(a, []byte(message), time.Second); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 4096)
		n, _, err := conn.ReadFrom(buf)
		if err != nil || string(buf[:n]) != message {
			t.Errorf("got %q, %v, want %q", buf[:n], err, message)
		}
	}
}

func TestDatagramsThatNobodyReads(t *testing.T) {
	a := unixAddress(t)
	conn, err := net.ListenPacket("unixgram", a.name)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // a test's socket
	for range 10000 {  // far more than the kernel keeps
		if err = send(a, []byte("STATUS=up\n"), 50*time.Millisecond); err != nil {
			break
		}
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the last attempt ended with %v", err)
	}
}

// TestStream has a connection for each message, which ends with it.
func TestStream(t *testing.T) {
	a := unixAddress(t)
	l, err := net.Listen("unix", a.name)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // a test's socket
	heard := make(chan string, 2)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			text, _ := io.ReadAll(conn)
			_ = conn.Close()
			heard <- string(text)
		}
	}()
	for _, message := range []string{"READY=1\nSTATUS=up\n", "STOPPING=1\n"} {
		if err := send(a, []byte(message), 5*time.Second); err != nil {
			t.Fatal(err)
		}
		if got := <-heard; got != message {
			t.Errorf("heard %q, want %q", got, message)
		}
	}
}

// TestStreamThatNobodyReads has a host that neither reads nor closes: what the
// kernel keeps for it counts as told, and once it keeps no more an attempt fails.
func TestStreamThatNobodyReads(t *testing.T) {
	a := unixAddress(t)
	l, err := net.Listen("unix", a.name)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // a test's socket
	// send waits for closeTime, not for as long as an attempt may take: that is
	// longer than the time limit of go test.
	const within = time.Hour
	start := time.Now()
	if err := send(a, []byte("READY=1\n"), within); err != nil {
		t.Errorf("a host that reads later: %v", err)
	}
	if took := time.Since(start); took < closeTime {
		t.Errorf("the host was waited for %v", took)
	}
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(conn); string(text) != "READY=1\n" || err != nil {
		t.Errorf("heard later: %q, %v", text, err)
	}
	if err := send(a, bytes.Repeat([]byte("x"), 64<<20), 100*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("more than the kernel keeps: %v", err)
	}
}

// TestStreamRefused has a host that hangs up without reading.
func TestStreamRefused(t *testing.T) {
	a := unixAddress(t)
	l, err := net.Listen("unix", a.name)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // a test's socket
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = conn.Read(make([]byte, 1))
		_ = conn.Close()
	}()
	if err := send(a, []byte("READY=1\n"), 5*time.Second); err == nil {
		t.Error("counts as told")
	}
}

// TestListenerLate begins to listen after the first attempts, with the clock of
// the real thing.
func TestListenerLate(t *testing.T) {
	a := unixAddress(t)
	failed := make(chan struct{}, 1)
	after := func(time.Duration) <-chan time.Time {
		select {
		case failed <- struct{}{}:
		default:
		}
		return time.After(time.Millisecond)
	}
	n := New(a, after, slog.New(slog.DiscardHandler))
	n.Ready()
	<-failed
	conn, err := net.ListenPacket("unixgram", a.name)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // a test's socket
	buf := make([]byte, 4096)
	if n, _, err := conn.ReadFrom(buf); err != nil || string(buf[:n]) != "READY=1\n" {
		t.Errorf("heard %q, %v", buf[:n], err)
	}
	if err := n.Flush(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestPortFound lays a port out as sysfs and devtmpfs do; a FIFO stands for the
// device.
func TestPortFound(t *testing.T) {
	root := t.TempDir()
	for port, name := range map[string]string{"vport0p1": "other", "vport3p2": "host"} {
		if err := os.MkdirAll(filepath.Join(root, "sys/class/virtio-ports", port), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, "sys/class/virtio-ports", port, "name"), []byte(name+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(root, "dev"), 0o755); err != nil {
		t.Fatal(err)
	}
	reader, device := fifo(t, filepath.Join(root, "dev/vport3p2"))
	defer reader.Close() //nolint:errcheck // a test's FIFO
	deadline := time.Now().Add(5 * time.Second)
	if err := sendPort(root, "host", []byte("READY=1\nSTATUS=up\n"), deadline); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 64)
	if n, err := reader.Read(buf); string(buf[:n]) != "READY=1\nSTATUS=up\n" || err != nil {
		t.Errorf("the device got %q, %v", buf[:n], err)
	}
	if err := sendPort(root, "none", nil, deadline); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a port that is not there: %v", err)
	}
	// A host that does not read: the device takes no more.
	err := sendPort(root, "host", []byte(strings.Repeat("x", 1<<20)), time.Now().Add(50*time.Millisecond))
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("writing more than %s takes: %v", device, err)
	}
}

// fifo makes a FIFO and opens it for reading.
func fifo(t *testing.T, path string) (reader *os.File, name string) {
	t.Helper()
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	reader, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	return reader, path
}
