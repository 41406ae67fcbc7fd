// Command agent is the test agent, the share's bin/arcbox-agent. It answers the host's
// requests over the port that package probe names.
package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"log"
	"net"
	"net/rpc"
	"net/rpc/jsonrpc"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/arcinit/arcinit/vmtests/guest/port"
	"github.com/arcinit/arcinit/vmtests/probe"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func main() {
	if run := mode(os.Args); run != nil {
		if err := run(); err != nil {
			log.Fatalf("%v: %v", os.Args, err)
		}
		return
	}
	g := &Guest{}
	if err := g.see(); err != nil {
		log.Fatalf("test agent: %v", err)
	}
	server := rpc.NewServer()
	if err := server.RegisterName(probe.Service, g); err != nil {
		log.Fatalf("test agent: %v", err)
	}
	p, err := port.Open(probe.Port)
	if err != nil {
		log.Fatalf("test agent: %v", err)
	}
	server.ServeCodec(jsonrpc.NewServerCodec(p))
}

// mode picks this process's role from its arguments. It returns nil for the agent.
func mode(args []string) func() error {
	switch {
	case len(args) == 2 && args[1] == "pivot":
		return pivot
	case len(args) == 3 && args[1] == "jail":
		return func() error { return jail(args[2]) }
	case len(args) > 3 && args[1] == "without":
		return func() error { return without(args[2], args[3:]) }
	case len(args) == 4 && args[1] == "flood":
		return func() error { return flood(args[2], args[3]) }
	case len(args) == 3 && args[1] == "hold":
		return func() error { return hold(args[2]) }
	case len(args) > 3 && args[1] == "squat":
		return func() error { return squat(args[2], args[3:]) }
	case len(args) == 3 && args[1] == "files":
		return func() error { return printFiles(args[2]) }
	case len(args) == 3 && args[1] == "orphans":
		return func() error { return orphans(args[2]) }
	case len(args) == 5 && args[1] == "storm":
		return func() error { return storm(args[2], args[3], args[4]) }
	case len(args) == 3 && args[1] == "deaf":
		return func() error { return deaf(args[2]) }
	case len(args) == 3 && args[1] == "idle":
		return idle
	case len(args) > 4 && args[1] == "squeeze":
		return func() error { return squeeze(args[2], args[3], args[4], args[5:]) }
	case len(args) == 4 && args[1] == "copy":
		return func() error { return copyProgram(args[2], args[3]) }
	case len(args) == 4 && args[1] == "note":
		return func() error { return note(args[2], args[3]) }
	}
	return nil
}

// Guest has the methods that the host calls.
type Guest struct {
	start probe.AtStart
	open  []*os.File // kept open
}

// see records the state of the guest before the agent changes anything.
func (g *Guest) see() error {
	now, err := uptime()
	if err != nil {
		return err
	}
	limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", os.Getppid()))
	if err != nil {
		return err
	}
	inherited, err := inheritedLimits()
	if err != nil {
		return fmt.Errorf("limits of a child: %w", err)
	}
	expedited, _ := os.ReadFile("/sys/kernel/rcu_expedited")
	g.start = probe.AtStart{
		Uptime: now, Clock: time.Now(), PID: os.Getpid(), PPID: os.Getppid(),
		Environ: os.Environ(),
		NOFILE:  openFiles(inherited), ParentNOFILE: openFiles(string(limits)), RCUExpedited: string(expedited),
	}
	return errors.Join(g.Mounts(struct{}{}, &g.start.Mounts), g.Links(struct{}{}, &g.start.Links))
}

// inheritedLimits returns /proc/PID/limits of a child that has not run an
// instruction yet. A Go program cannot look at its own limits: package os raises the
// soft limit before main, and restores the old limit in children.
func inheritedLimits() (string, error) {
	runtime.LockOSThread() // only the thread that starts the child may trace it
	defer runtime.UnlockOSThread()
	child, err := os.StartProcess("/proc/self/exe", []string{"agent"}, &os.ProcAttr{
		Sys: &syscall.SysProcAttr{Ptrace: true},
	})
	if err != nil {
		return "", err
	}
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(child.Pid, &status, 0, nil); err != nil || !status.Stopped() {
		return "", fmt.Errorf("wait for the child to stop: %v, status %#x", err, status)
	}
	limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", child.Pid))
	_ = child.Kill()
	_, _ = child.Wait()
	return string(limits), err
}

// openFiles returns the soft and the hard limit of open files.
func openFiles(limits string) [2]string {
	for line := range strings.Lines(limits) {
		if rest, ok := strings.CutPrefix(line, "Max open files"); ok {
			if f := strings.Fields(rest); len(f) >= 2 {
				return [2]string{f[0], f[1]}
			}
		}
	}
	return [2]string{}
}

// AtStart returns what the agent found when it started.
func (g *Guest) AtStart(_ struct{}, reply *probe.AtStart) error {
	*reply = g.start
	return nil
}

// ReadFile reads a file.
func (g *Guest) ReadFile(path string, reply *[]byte) (err error) {
	*reply, err = os.ReadFile(path)
	return err
}

// WriteFile is a request to write a file, mode 0644.
type WriteFile struct {
	Path string
	Data []byte
}

// WriteFile writes a file.
func (g *Guest) WriteFile(w WriteFile, _ *struct{}) error {
	return os.WriteFile(w.Path, w.Data, 0o644)
}

// Glob lists files.
func (g *Guest) Glob(pattern string, reply *[]string) error {
	found, err := filepath.Glob(pattern)
	*reply = append([]string{}, found...) // JSON-RPC has no reply of null
	return err
}

// Stat describes a file and does not follow a symbolic link.
func (g *Guest) Stat(path string, reply *probe.Stat) error {
	st, err := os.Lstat(path)
	if err != nil {
		return err
	}
	sys := st.Sys().(*syscall.Stat_t)
	target, _ := os.Readlink(path)
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err == nil {
		reply.Bytes = fs.Blocks * uint64(fs.Bsize)
	}
	reply.Mode, reply.UID, reply.GID, reply.Size, reply.Target = st.Mode(), sys.Uid, sys.Gid, st.Size(), target
	return nil
}

// Mounts reads the mount table.
func (g *Guest) Mounts(_ struct{}, reply *[]probe.Mount) error {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	for s := bufio.NewScanner(bytes.NewReader(text)); s.Scan(); {
		before, after, _ := strings.Cut(s.Text(), " - ")
		f, super := strings.Fields(before), strings.Fields(after)
		if len(f) < 6 || len(super) < 3 {
			return fmt.Errorf("mountinfo line %q", s.Text())
		}
		*reply = append(*reply, probe.Mount{
			Root: f[3], Path: f[4], Options: strings.Split(f[5], ","), Shared: strings.Contains(before, " shared:"),
			FSType: super[0], Source: super[1], SuperOptions: strings.Split(super[2], ","),
		})
	}
	return nil
}

// Run runs a program and waits until it ends.
func (g *Guest) Run(c probe.Command, reply *probe.Result) error {
	cmd := exec.Command(c.Argv[0], c.Argv[1:]...)
	cmd.Env = append(os.Environ(), c.Env...)
	cmd.Stdin = strings.NewReader(c.Stdin)
	return run(cmd, reply)
}

func run(cmd *exec.Cmd, reply *probe.Result) error {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	reply.Stdout, reply.Stderr, reply.Code = stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return nil
	}
	return err
}

// KernelLog returns the records of the kernel log.
func (g *Guest) KernelLog(_ struct{}, reply *[]probe.Record) error {
	fd, err := unix.Open("/dev/kmsg", unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd) //nolint:errcheck // only read from
	for buf := make([]byte, 8192); ; {
		n, err := unix.Read(fd, buf)
		if errors.Is(err, unix.EAGAIN) {
			return nil // the end of the log
		}
		if errors.Is(err, unix.EPIPE) {
			continue // the kernel has overwritten the record
		}
		if err != nil {
			return err
		}
		// PRIORITY,SEQUENCE,TIME,FLAGS;TEXT (Documentation/ABI/testing/dev-kmsg)
		head, text, _ := strings.Cut(string(buf[:n]), ";")
		var priority, sequence, µs int
		if _, err := fmt.Sscanf(head, "%d,%d,%d,", &priority, &sequence, &µs); err != nil {
			return fmt.Errorf("kernel log record %q: %w", head, err)
		}
		text, _, _ = strings.Cut(text, "\n")
		*reply = append(*reply, probe.Record{Level: priority & 7, Time: time.Duration(µs) * time.Microsecond, Text: text})
	}
}

// whole lists again if the list changed while the kernel sent it.
func whole[T any](list func() ([]T, error)) (all []T, err error) {
	for {
		all, err = list()
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			return all, err
		}
	}
}

// Links lists the network interfaces over netlink.
func (g *Guest) Links(_ struct{}, reply *[]probe.Link) error {
	links, err := whole(netlink.LinkList)
	if err != nil {
		return err
	}
	for _, l := range links {
		a := l.Attrs()
		link := probe.Link{Name: a.Name, MAC: a.HardwareAddr.String(), Up: a.Flags&net.FlagUp != 0, MTU: a.MTU}
		addrs, err := whole(func() ([]netlink.Addr, error) { return netlink.AddrList(l, netlink.FAMILY_V4) })
		if err != nil {
			return err
		}
		for _, addr := range addrs {
			link.Addresses = append(link.Addresses, addr.IPNet.String())
		}
		*reply = append(*reply, link)
	}
	return nil
}

// Routes lists the IPv4 routes over netlink.
func (g *Guest) Routes(_ struct{}, reply *[]probe.Route) error {
	routes, err := whole(func() ([]netlink.Route, error) { return netlink.RouteList(nil, netlink.FAMILY_V4) })
	if err != nil {
		return err
	}
	for _, r := range routes {
		route := probe.Route{}
		if r.Dst != nil {
			if ones, _ := r.Dst.Mask.Size(); ones > 0 {
				route.Dst = r.Dst.String()
			}
		}
		if r.Gw != nil {
			route.Gateway = r.Gw.String()
		}
		if l, err := netlink.LinkByIndex(r.LinkIndex); err == nil {
			route.Link = l.Attrs().Name
		}
		*reply = append(*reply, route)
	}
	return nil
}

// Pty opens a pseudo-terminal and describes the device node of its slave.
func (g *Guest) Pty(_ struct{}, reply *probe.Stat) error {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return err
	}
	defer master.Close() //nolint:errcheck // a test's terminal
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		return fmt.Errorf("unlock: %w", err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		return fmt.Errorf("number: %w", err)
	}
	slave := fmt.Sprintf("/dev/pts/%d", n)
	f, err := os.OpenFile(slave, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // a test's terminal
	return g.Stat(slave, reply)
}

// MakeNode creates a copy of /dev/null, opens it and removes it.
func (g *Guest) MakeNode(n probe.Node, _ *struct{}) error {
	path := filepath.Join(n.Dir, "null")
	if err := unix.Mknod(path, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))); err != nil {
		return fmt.Errorf("mknod %s: %w", path, err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err == nil {
		_ = f.Close()
	}
	return errors.Join(err, os.Remove(path))
}

// Pivot runs a process that changes its root like a container runtime, in its own mount
// namespace and, if user is set, its own user namespace.
func (g *Guest) Pivot(user bool, reply *string) error {
	cmd := exec.Command("/proc/self/exe", "pivot")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS}
	if user {
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
		ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}}
		cmd.SysProcAttr.UidMappings, cmd.SysProcAttr.GidMappings = ids, ids
	}
	out, err := cmd.CombinedOutput()
	*reply = string(out)
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// pivot changes the root to a tmpfs and prints what is in it.
func pivot() error {
	const root = "/tmp/container"
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make the mounts private: %w", err)
	}
	if err := os.MkdirAll(root, 0o755); err != nil {
		return err
	}
	if err := unix.Mount("container", root, "tmpfs", 0, ""); err != nil {
		return fmt.Errorf("mount the container's root: %w", err)
	}
	if err := os.Mkdir(root+"/old", 0o755); err != nil {
		return err
	}
	if err := unix.PivotRoot(root, root+"/old"); err != nil {
		return fmt.Errorf("pivot_root: %w", err)
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	if err := unix.Unmount("/old", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("unmount the old root: %w", err)
	}
	left, err := filepath.Glob("/*")
	fmt.Println(strings.Join(left, " "))
	return err
}

// Dial connects to an address, sends a line and returns the answer.
func (g *Guest) Dial(address string, reply *string) error {
	conn, err := net.DialTimeout("tcp", address, 10*time.Second)
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // a test's connection
	if _, err := fmt.Fprintln(conn, "hello"); err != nil {
		return err
	}
	*reply, err = bufio.NewReader(conn).ReadString('\n')
	return err
}

// Exit ends the agent with this exit code, without an answer.
func (g *Guest) Exit(code int, _ *struct{}) error {
	os.Exit(code)
	return nil
}

// copyProgram copies a program, and makes the directory that it comes to.
func copyProgram(from, to string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return errors.Join(os.MkdirAll(filepath.Dir(to), 0o755), os.WriteFile(to, text, 0o755))
}
