package guest

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
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
	root := os.Geteuid() == 0
	command, err := virtiofsd(places(), root)
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
	command = append(command, "--fd=3", "-o", "source="+share.Dir, "-o", sandbox(root))
	d.cmd = exec.Command(command[0], command[1:]...)
	d.cmd.ExtraFiles = []*os.File{socket} // the descriptor 3
	d.cmd.Stdout, d.cmd.Stderr = &d.output, &d.output
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	// A child of the daemon's may hold its output open for longer.
	d.cmd.WaitDelay = time.Second
	if err := d.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start virtiofsd for share %s: %w", share.Tag, err)
	}
	return d, nil
}

// sandbox is how the daemon confines itself to the share. Only root can.
func sandbox(root bool) string {
	if root {
		return "sandbox=chroot"
	}
	return "sandbox=none"
}

// place is where a virtiofsd may be.
type place struct {
	path string
	// libraries has the program's own libraries and ld.so, if it was not built for this system.
	libraries string
	// onlyRoot is said of the program in C, which came with QEMU until 7.2. The one in Rust took its place.
	onlyRoot bool
}

// places are where distributions have it, which is never in PATH, and where this project's scripts put it.
func places() []place {
	places := []place{{path: "/usr/libexec/virtiofsd"}, {path: "/usr/lib/virtiofsd"}}
	if dir, err := cacheDir(); err == nil {
		dir = filepath.Join(dir, "virtiofsd")
		places = append(places, place{path: filepath.Join(dir, "usr/libexec/virtiofsd"), libraries: dir})
	}
	return append(places, place{path: "/usr/lib/qemu/virtiofsd", onlyRoot: true})
}

// virtiofsd returns the start of the command line of the first that exists and can be used.
func virtiofsd(places []place, root bool) ([]string, error) {
	var tried []string
	for _, p := range places {
		_, err := os.Stat(p.path)
		switch {
		case err != nil:
			tried = append(tried, p.path)
		case p.onlyRoot && !root:
			tried = append(tried, p.path+" (which needs root)")
		case p.libraries != "":
			return []string{filepath.Join(p.libraries, "ld.so"), "--library-path", filepath.Join(p.libraries, "lib"), p.path}, nil
		default:
			return []string{p.path}, nil
		}
	}
	return nil, fmt.Errorf("no virtiofsd among %s", strings.Join(tried, ", "))
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
