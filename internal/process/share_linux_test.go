//go:build guesttest

package process

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// openHung opens a file on a FUSE file system whose server answers everything but
// FLUSH, which closing the file asks for, and sends on flushed instead. The requests
// are those of uapi/linux/fuse.h; the file system has no other file.
func openHung(t *testing.T) (flushed <-chan bool) {
	t.Helper()
	server, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	options := fmt.Sprintf("fd=%d,rootmode=100644,user_id=0,group_id=0", server)
	if err := unix.Mount("hung", path, "fuse", 0, options); err != nil {
		t.Fatal(err)
	}
	flushes, ended := make(chan bool, 1), make(chan bool)
	go func() {
		defer close(ended)
		request := make([]byte, 1<<17)
		for {
			if _, err := unix.Read(server, request); err != nil {
				return // ENODEV: unmounted
			}
			var body []byte
			var code int32
			switch opcode := binary.NativeEndian.Uint32(request[4:]); opcode {
			case 26: // FUSE_INIT
				body = make([]byte, 64)
				binary.NativeEndian.PutUint32(body, 7) // the protocol's version: 7.31
				binary.NativeEndian.PutUint32(body[4:], 31)
				binary.NativeEndian.PutUint32(body[20:], 4096) // of a write, the largest size in bytes
			case 3: // FUSE_GETATTR
				body = make([]byte, 104)
				binary.NativeEndian.PutUint32(body[76:], unix.S_IFREG|0o644)
			case 14: // FUSE_OPEN
				body = make([]byte, 16)
			case 25: // FUSE_FLUSH
				flushes <- true
				continue
			default:
				code = -int32(unix.ENOSYS)
			}
			reply := binary.NativeEndian.AppendUint32(nil, uint32(16+len(body)))
			reply = binary.NativeEndian.AppendUint32(reply, uint32(code))
			reply = append(append(reply, request[8:16]...), body...)
			_, _ = unix.Write(server, reply) // FORGET takes no reply
		}
	}()
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	t.Cleanup(func() {
		// Before the file is closed, which would hang.
		if err := unix.Unmount(path, unix.MNT_FORCE|unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
		<-ended
		_ = unix.Close(server)
		_ = file.Close()
	})
	if err != nil {
		t.Fatal(err)
	}
	return flushes
}

// TestStartBesideHungShare starts a program while a file is open on a share whose
// host no longer answers. Closing that file in the child would hang this process, too.
func TestStartBesideHungShare(t *testing.T) {
	r := NewReaper(slog.New(slog.DiscardHandler), time.After)
	flushed := openHung(t)
	started := make(chan error, 1)
	go func() {
		_, exit, err := r.Start(Command{Path: "/proc/self/exe", Args: []string{"no tests", "-test.run=^$"}, Dir: "/"}, nil)
		if err == nil {
			r.reapAll()
			<-exit
		}
		started <- err
	}()
	select {
	case err := <-started:
		if err != nil {
			t.Error(err)
		}
	case <-flushed:
		t.Error("the start of a program closes a file on the share, and waits for its host")
	}
}
