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

// serveShare starts virtiofsd and passes it a socket that already listens. So QEMU can connect at once, and gets an error
// if the daemon has died.
func serveShare(share Share, path string) (*daemon, error) {
	if fi, err := os.Stat(share.Dir); err != nil {
		return nil, fmt.Errorf("share %s: %w", share.Tag, err)
	} else if !fi.IsDir() {
		return nil, fmt.Errorf("share %s: %s is not a directory", share.Tag, share.Dir)
	}
	root := os.Geteuid() == 0
	program, err := findVirtiofsd(places(), root)
	if err != nil {
		return nil, fmt.Errorf("share %s: %w", share.Tag, err)
	}
	command := program.command(share.Dir, root)

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
	d.cmd = exec.Command(command[0], command[1:]...)
	d.cmd.ExtraFiles = []*os.File{socket} // becomes descriptor 3
	d.cmd.Stdout, d.cmd.Stderr = &d.output, &d.output
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	// A child of the daemon may keep the daemon's output open after its end.
	d.cmd.WaitDelay = time.Second
	if err := d.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start virtiofsd for share %s: %w", share.Tag, err)
	}
	return d, nil
}

// place is a path where a virtiofsd may be installed.
type place struct {
	path string
	// libraries is the directory of the program's own libraries and ld.so, if it was not built for this system.
	libraries string
	// inC marks the program in C that came with QEMU until 7.2 and only works for root. A program in Rust replaced it.
	inC bool
}

// places are the distributions' paths, which are never in PATH, and the path that scripts/need-guests.sh uses.
func places() []place {
	places := []place{{path: "/usr/libexec/virtiofsd"}, {path: "/usr/lib/virtiofsd"}}
	if dir, err := cacheDir(); err == nil {
		dir = filepath.Join(dir, "virtiofsd")
		places = append(places, place{path: filepath.Join(dir, "bin/virtiofsd"), libraries: dir})
	}
	return append(places, place{path: "/usr/lib/qemu/virtiofsd", inC: true})
}

// findVirtiofsd returns the first place with a virtiofsd that this user can run.
func findVirtiofsd(places []place, root bool) (place, error) {
	var tried []string
	for _, p := range places {
		_, err := os.Stat(p.path)
		switch {
		case err != nil:
			tried = append(tried, p.path)
		case p.inC && !root:
			tried = append(tried, p.path+" (which needs root)")
		default:
			return p, nil
		}
	}
	return place{}, fmt.Errorf("no virtiofsd among %s", strings.Join(tried, ", "))
}

// command returns the command line that serves a directory on descriptor 3, a socket.
func (p place) command(dir string, root bool) []string {
	if p.inC {
		return []string{p.path, "--fd=3", "-o", "source=" + dir, "-o", "sandbox=chroot"}
	}
	command := []string{p.path, "--fd=3", "--shared-dir", dir, "--sandbox", "chroot"}
	if !root {
		command[len(command)-1] = "none"
	}
	if p.libraries != "" {
		command = append([]string{filepath.Join(p.libraries, "ld.so"), "--library-path", filepath.Join(p.libraries, "lib")}, command...)
	}
	return command
}

// stop ends the daemon. QEMU must have ended.
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
