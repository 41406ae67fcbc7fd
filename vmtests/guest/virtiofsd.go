package guest

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// daemon is a virtiofsd that serves one share to one guest.
type daemon struct {
	tag    string
	cmd    *exec.Cmd
	output safeBuffer
}

// serveShare starts virtiofsd on a socket. The socket listens before the daemon runs and is handed to it, so QEMU can
// connect at once, and gets an error rather than silence if the daemon has died.
func serveShare(share Share, path string) (*daemon, error) {
	if fi, err := os.Stat(share.Dir); err != nil {
		return nil, fmt.Errorf("share %s: %w", share.Tag, err)
	} else if !fi.IsDir() {
		return nil, fmt.Errorf("share %s: %s is not a directory", share.Tag, share.Dir)
	}
	program, inC, err := findVirtiofsd()
	if err != nil {
		return nil, fmt.Errorf("share %s: %w", share.Tag, err)
	}

	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listen for share %s: %w", share.Tag, err)
	}
	socket, err := l.File()
	l.SetUnlinkOnClose(false)
	_ = l.Close()
	if err != nil {
		return nil, fmt.Errorf("socket of share %s: %w", share.Tag, err)
	}
	defer func() { _ = socket.Close() }()

	d := &daemon{tag: share.Tag}
	d.cmd = exec.Command(program, virtiofsdArgs(share.Dir, inC, os.Geteuid() == 0)...)
	d.cmd.ExtraFiles = []*os.File{socket} // the descriptor 3
	d.cmd.Stdout, d.cmd.Stderr = &d.output, &d.output
	d.cmd.SysProcAttr = virtiofsdAttributes(inC, os.Geteuid(), os.Getegid())
	// A child of the daemon's may hold its output open for longer.
	d.cmd.WaitDelay = time.Second
	if err := d.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start virtiofsd for share %s: %w", share.Tag, err)
	}
	return d, nil
}

// virtiofsdArgs are the arguments for either of the two programs: the one in C that came with QEMU until 7.2, or the
// one in Rust that took its place.
func virtiofsdArgs(dir string, inC, root bool) []string {
	if inC {
		return []string{"--fd=3", "-o", "source=" + dir, "-o", "sandbox=chroot"}
	}
	args := []string{"--fd=3", "--shared-dir=" + dir, "--sandbox=chroot"}
	if !root {
		args[2] = "--sandbox=none"
	}
	return args
}

// virtiofsdAttributes ties the daemon to this process. The program in C insists on being root: for anyone else it is,
// in a user namespace of its own.
func virtiofsdAttributes(inC bool, uid, gid int) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if inC && uid != 0 {
		attr.Cloneflags = syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: gid, Size: 1}}
	}
	return attr
}

// findVirtiofsd finds the program where distributions have it, which is never in PATH, and says whether it is the one
// in C.
func findVirtiofsd() (program string, inC bool, err error) {
	places := []string{"/usr/libexec/virtiofsd", "/usr/lib/virtiofsd", "/usr/lib/qemu/virtiofsd"}
	for _, program := range places {
		if _, err := os.Stat(program); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		version, err := exec.Command(program, "--version").CombinedOutput()
		if err != nil {
			return "", false, fmt.Errorf("ask %s for its version: %w: %s", program, err, version)
		}
		return program, bytes.Contains(version, []byte("FUSE kernel interface")), nil
	}
	return "", false, fmt.Errorf("no virtiofsd in %s", strings.Join(places, ", "))
}

// stop ends the daemon, which has nothing more to do once QEMU has ended.
func (d *daemon) stop() {
	_ = syscall.Kill(-d.cmd.Process.Pid, syscall.SIGKILL)
	_ = d.cmd.Wait()
}

// safeBuffer is a bytes.Buffer that can be read while a program writes to it.
type safeBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
