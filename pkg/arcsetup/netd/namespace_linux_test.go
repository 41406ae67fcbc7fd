//go:build guesttest

package netd

import (
	"bytes"
	"cmp"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/server4"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// inNamespace runs the rest of the test in a process with a network namespace
// of its own, beside other tests, and reports whether this is that process.
func inNamespace(t *testing.T) bool {
	t.Helper()
	const mark = "NETD_TEST_NAMESPACE"
	if os.Getenv(mark) == t.Name() {
		return true
	}
	t.Parallel()
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=3m")
	cmd.Env = append(os.Environ(), mark+"="+t.Name())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("in the namespace: %v", err)
	}
	if err != nil || testing.Verbose() {
		t.Logf("%s", out)
	}
	return false
}

// namespace is a network namespace: a thread that is in it.
type namespace struct {
	fd    int
	calls chan func()
}

func newNamespace(t *testing.T) *namespace {
	t.Helper()
	ns := &namespace{calls: make(chan func())}
	ready := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			ns.fd, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		}
		ready <- err
		for f := range ns.calls {
			f()
		}
	}()
	if err := <-ready; err != nil {
		t.Fatalf("new network namespace: %v", err)
	}
	t.Cleanup(func() { close(ns.calls); _ = unix.Close(ns.fd) })
	return ns
}

// do runs f in the namespace.
func (ns *namespace) do(f func() error) error {
	done := make(chan error)
	ns.calls <- func() { done <- f() }
	return <-done
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// addNIC makes a link name whose other end, of the same name, is up in ns with
// the address.
func addNIC(t *testing.T, ns *namespace, name, address string) {
	t.Helper()
	veth := netlink.NewVeth(netlink.LinkAttrs{Name: name, MTU: 1500, TxQLen: -1})
	veth.PeerName = "peer-" + name
	must(t, netlink.LinkAdd(veth))
	peer, err := netlink.LinkByName(veth.PeerName)
	must(t, err)
	must(t, netlink.LinkSetNsFd(peer, ns.fd))
	must(t, ns.do(func() error {
		a, err := netlink.ParseAddr(address)
		if err != nil {
			return err
		}
		if peer, err = netlink.LinkByName(veth.PeerName); err != nil {
			return err
		}
		if err := netlink.AddrAdd(peer, a); err != nil {
			return err
		}
		return netlink.LinkSetUp(peer)
	}))
}

// server is a DHCP server on the far end of a NIC. What answer returns is sent;
// nil is silence.
type server struct {
	answer func(request *dhcpv4.DHCPv4) *dhcpv4.DHCPv4

	mu   sync.Mutex
	seen []*dhcpv4.DHCPv4
}

// requests returns what has come in, in order.
func (s *server) requests() []*dhcpv4.DHCPv4 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*dhcpv4.DHCPv4(nil), s.seen...)
}

// granting makes an answer out of the plain lease of newACK.
func granting(t *testing.T, address string, options ...dhcpv4.Option) func(*dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
	return func(request *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
		reply := newACK(t, address, options...)
		reply.TransactionID = request.TransactionID
		reply.ClientHWAddr = request.ClientHWAddr
		if request.MessageType() == dhcpv4.MessageTypeDiscover {
			reply.UpdateOption(dhcpv4.OptMessageType(dhcpv4.MessageTypeOffer))
		}
		return reply
	}
}

// serveBoth makes a primary and a bridge NIC, each with a server that grants its lease.
func serveBoth(t *testing.T) {
	t.Helper()
	far := newNamespace(t)
	addNIC(t, far, "eth0", "10.0.2.1/24")
	addNIC(t, far, "eth1", "192.168.64.1/24")
	serve(t, far, "eth0", granting(t, "10.0.2.15"))
	serve(t, far, "eth1", granting(t, "192.168.64.7"))
}

// serve starts a server on the far end of the NIC name in ns.
func serve(t *testing.T, ns *namespace, name string, answer func(*dhcpv4.DHCPv4) *dhcpv4.DHCPv4) *server {
	t.Helper()
	s := &server{answer: answer}
	var conn net.PacketConn
	must(t, ns.do(func() (err error) {
		conn, err = server4.NewIPv4UDPConn("peer-"+name, &net.UDPAddr{Port: 67})
		return err
	}))
	t.Cleanup(func() { _ = conn.Close() })
	go func() {
		b := make([]byte, 1500)
		for {
			n, _, err := conn.ReadFrom(b)
			if err != nil {
				return
			}
			request, err := dhcpv4.FromBytes(b[:n])
			if err != nil {
				continue
			}
			s.mu.Lock()
			s.seen = append(s.seen, request)
			reply := s.answer(request)
			s.mu.Unlock()
			if reply != nil {
				_, _ = conn.WriteTo(reply.ToBytes(), &net.UDPAddr{IP: net.IPv4bcast, Port: 68})
			}
		}
	}()
	return s
}

// become changes what s answers.
func (s *server) become(answer func(*dhcpv4.DHCPv4) *dhcpv4.DHCPv4) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = answer
}

// ipCommand is the real ip program, which IP says how to start.
func ipCommand(args ...string) *exec.Cmd {
	command := strings.Fields(cmp.Or(os.Getenv("IP"), "ip"))
	return exec.Command(command[0], append(command[1:], args...)...)
}

// ip is the output of the real ip program, which says on its standard error when
// what it lists has changed meanwhile.
func ip(t *testing.T, args ...string) string {
	t.Helper()
	for {
		var out, problems bytes.Buffer
		cmd := ipCommand(args...)
		cmd.Stdout, cmd.Stderr = &out, &problems
		if err := cmd.Run(); err != nil {
			t.Fatalf("ip %s: %v\n%s", strings.Join(args, " "), err, problems.String())
		}
		if !strings.Contains(problems.String(), "Dump was interrupted") {
			return strings.TrimSpace(out.String())
		}
	}
}

// addresses are all links' IPv4 addresses. The links' states are left out: the
// kernel gets round to those when it likes.
func addresses(t *testing.T) string {
	t.Helper()
	var all []string
	for line := range strings.Lines(ip(t, "-br", "-4", "addr")) {
		fields := strings.Fields(line)
		all = append(all, strings.Join(slices.Delete(fields, 1, 2), " "))
	}
	return strings.Join(all, "; ")
}

// eventually waits for the condition, which the test cannot be told of.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if condition() {
			return
		}
	}
	t.Fatalf("never: %s\n%s\n%s", what, ip(t, "addr"), ip(t, "route"))
}

func readTrimmed(t *testing.T, elem ...string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(elem...))
	must(t, err)
	return strings.TrimSpace(string(b))
}

// logLines collects what is logged.
type logLines struct {
	mu    sync.Mutex
	lines []string
}

func (l *logLines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, string(b))
	fmt.Print(string(b))
	return len(b), nil
}

// count returns how many lines have all parts.
func (l *logLines) count(parts ...string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.lines {
		if !slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(line, part) }) {
			n++
		}
	}
	return n
}

// warnings returns how many warnings name a thing.
func (l *logLines) warnings(thing string) int { return l.count("level=WARN", thing) }
