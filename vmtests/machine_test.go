//go:build vmtest

// Package vmtests boots real kernels with arcinit's images and looks at the
// guests from outside arcinit's own code.
package vmtests

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/rpc"
	"net/rpc/jsonrpc"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/arcinit/arcinit/pkg/arcsetup"
	"github.com/arcinit/arcinit/pkg/arcsetup/plan"
	"github.com/arcinit/arcinit/vmtests/guest"
	"github.com/arcinit/arcinit/vmtests/probe"
	"github.com/u-root/mkuimage/cpio"
)

// console shows every guest's console while the guest runs.
var console = flag.Bool("console", false, "show the guests' consoles")

// built returns the path of a file in the build directory: an image, a kernel, the
// test agent or the tools.
func built(t testing.TB, name string) string {
	t.Helper()
	dir := os.Getenv("ARCINIT_BUILD")
	if dir == "" {
		t.Fatal("ARCINIT_BUILD is not set: run these tests by make vmtest")
	}
	path := name
	if !filepath.IsAbs(name) {
		path = filepath.Join(dir, name)
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatal(err)
	}
	return path
}

// arch returns the guests' architecture.
func arch() string {
	return cmp.Or(os.Getenv("ARCH"), runtime.GOARCH)
}

// image describes a guest to boot.
type image struct {
	// kernel and initrd are file names in the build directory, by default
	// vmlinuz-stock and initramfs-modules.cpio.
	kernel, initrd string
	// noInitrd leaves out the initramfs: the kernel mounts the root.
	noInitrd bool
	// files are added to the initramfs by path; executable adds programs.
	files      map[string]string
	executable map[string]string // path in the initramfs to a file on the host
	// early are files of an archive in front of the initramfs, where the kernel looks for ACPI tables.
	early map[string]string
	// shared are files on the share arcbox; noAgent leaves out bin/arcbox-agent.
	shared  map[string]string
	noAgent bool
	// open are those of files and shared that anybody may write to.
	open []string
	// prepare, if not nil, gets the directory of the share arcbox before the guest starts.
	prepare func(dir string)
	// programs are put on the shares: from a path that starts with the share's tag,
	// to a file on the host.
	programs map[string]string
	// noShare leaves out the share arcbox; tags names the other shares.
	noShare bool
	tags    []string
	// virtioConsole makes the console a virtio device, not a serial port.
	virtioConsole bool
	// mmio puts the virtio devices on MMIO, not on PCI.
	mmio bool
	// reader, if not nil, gets what the console shows. While its Write blocks, the VMM reads nothing.
	reader       io.Writer
	nics         []guest.NIC
	disks        []guest.Disk
	qemu         []string // extra arguments
	ports        []guest.Port
	cmdline      []string
	cpus, memory int // by default 1, and 512 MiB
	// timeout is how long the guest may run, by default 3 minutes.
	timeout time.Duration
	// tools puts the real iptables and ip on the share, stress the real stress-ng.
	tools, stress bool
}

// machine is a booted guest with the test agent in it.
type machine struct {
	*guest.VM
	t     *testing.T
	dirs  map[string]string // of the shares, by tag
	agent *rpc.Client
}

// boot starts a guest, and kills it when the test ends. If the test fails, it logs
// the guest's console.
func boot(t *testing.T, im image) *machine {
	t.Helper()
	m := &machine{t: t, dirs: map[string]string{}}
	config := guest.Config{
		Arch: arch(), VirtioConsole: im.virtioConsole, MMIO: im.mmio,
		Kernel: built(t, cmp.Or(im.kernel, "vmlinuz-stock")),
		CPUs:   im.cpus, MemoryMiB: im.memory, Cmdline: im.cmdline, NICs: im.nics, Disks: im.disks, ExtraQEMU: im.qemu, Timeout: cmp.Or(im.timeout, 3*time.Minute),
	}
	if !im.noInitrd {
		config.Initrd = withFiles(t, built(t, cmp.Or(im.initrd, "initramfs-modules.cpio")), im)
	}
	if !im.noShare {
		im.tags = append([]string{"arcbox"}, im.tags...)
	}
	for _, tag := range im.tags {
		m.dirs[tag] = t.TempDir()
		// Guests see the host's file modes, and some tests access the share as other users.
		if err := os.Chmod(m.dirs[tag], 0o755); err != nil {
			t.Fatal(err)
		}
		config.Shares = append(config.Shares, guest.Share{Tag: tag, Dir: m.dirs[tag]})
		m.put(tag, "where", tag)
	}
	for path, source := range im.programs {
		tag, path, _ := strings.Cut(path, "/")
		m.install(source, tag, path, 0o755)
	}
	if !im.noShare {
		for path, text := range im.shared {
			m.put("arcbox", path, text)
			if slices.Contains(im.open, path) {
				if err := os.Chmod(filepath.Join(m.dirs["arcbox"], path), 0o666); err != nil {
					t.Fatal(err)
				}
			}
		}
		if !im.noAgent {
			m.installAgent(0o755)
		}
		for name, wanted := range map[string]bool{"tools": im.tools, "stress": im.stress} {
			if wanted {
				// os.CopyFS refuses symbolic links.
				command(t, "", "cp", "-a", built(t, name), m.dirs["arcbox"])
			}
		}
		if im.prepare != nil {
			im.prepare(m.dirs["arcbox"])
		}
	}
	config.Shares = append(config.Shares, counters(t)...)
	if config.Console = im.reader; *console && im.reader == nil {
		config.Console = os.Stderr
	}
	in, lines := io.Pipe()
	config.Ports = append(im.ports, guest.Port{Name: probe.Port, Line: func(line []byte) {
		_, _ = lines.Write(append(line, '\n'))
	}})
	vm, err := guest.Start(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	m.VM = vm
	m.agent = jsonrpc.NewClient(&wire{in, vm})
	t.Cleanup(func() {
		vm.Kill()
		_ = in.Close()
		_ = vm.Wait()
		if t.Failed() && !*console {
			t.Logf("console of the guest:\n%s", vm.ConsoleText())
		}
	})
	return m
}

// wire makes the probe's port a connection. The RPC client writes one line at a time.
type wire struct {
	io.ReadCloser
	vm *guest.VM
}

func (w *wire) Write(p []byte) (int, error) {
	return len(p), w.vm.Send(probe.Port, strings.TrimRight(string(p), "\n"))
}

// withFiles returns an initramfs with the image's files added. The kernel unpacks
// concatenated archives into one root.
func withFiles(t *testing.T, initrd string, im image) string {
	t.Helper()
	if im.files == nil && im.executable == nil && im.early == nil {
		return initrd
	}
	var records []cpio.Record
	for path, text := range im.files {
		mode := uint64(0o644)
		if slices.Contains(im.open, path) {
			mode = 0o666
		}
		records = append(records, cpio.StaticFile(strings.TrimPrefix(path, "/"), text, mode))
	}
	for path, source := range im.executable {
		text, err := os.ReadFile(source)
		if err != nil {
			t.Fatal(err)
		}
		records = append(records, cpio.StaticFile(strings.TrimPrefix(path, "/"), string(text), 0o755))
	}
	var early []cpio.Record
	for path, text := range im.early {
		early = append(early, cpio.StaticFile(path, text, 0o644))
	}
	base, err := os.ReadFile(initrd)
	if err != nil {
		t.Fatal(err)
	}
	all := slices.Concat(archive(t, early), base)
	// Archives must start at a multiple of 4 bytes (Documentation/driver-api/early-userspace/buffer-format.rst).
	for len(all)%4 != 0 {
		all = append(all, 0)
	}
	path := filepath.Join(t.TempDir(), "initramfs.cpio")
	if err := os.WriteFile(path, append(all, archive(t, records)...), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// archive makes an archive of these files, with the directories that they are in. Without files it is empty.
func archive(t *testing.T, records []cpio.Record) []byte {
	t.Helper()
	if records == nil {
		return nil
	}
	var dirs []cpio.Record
	made := map[string]bool{}
	for _, r := range records {
		var above []string
		for dir := filepath.Dir(r.Name); dir != "." && !made[dir]; dir = filepath.Dir(dir) {
			made[dir] = true
			above = append([]string{dir}, above...)
		}
		for _, dir := range above {
			dirs = append(dirs, cpio.Directory(dir, 0o755))
		}
	}
	var b bytes.Buffer
	w := cpio.Newc.Writer(&b)
	for _, r := range append(dirs, records...) {
		if err := w.WriteRecord(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := cpio.WriteTrailer(w); err != nil {
		t.Fatal(err)
	}
	for b.Len()%4 != 0 {
		b.WriteByte(0)
	}
	return b.Bytes()
}

// put writes a file on a share, from the host.
func (m *machine) put(tag, path, text string) {
	m.t.Helper()
	path = filepath.Join(m.dirs[tag], path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		m.t.Fatal(err)
	}
}

// get reads a file on the share arcbox, from the host.
func (m *machine) get(path string) string {
	m.t.Helper()
	text, err := os.ReadFile(filepath.Join(m.dirs["arcbox"], path))
	if err != nil {
		m.t.Fatal(err)
	}
	return string(text)
}

// installAgent puts the test agent on the share in one step.
func (m *machine) installAgent(mode os.FileMode) {
	m.t.Helper()
	m.install(built(m.t, "arcbox-agent"), "arcbox", "bin/arcbox-agent", mode)
}

// install copies a program from the host to a share, and renames it into place so
// that the guest never sees half of it.
func (m *machine) install(program, tag, path string, mode os.FileMode) {
	m.t.Helper()
	text, err := os.ReadFile(program)
	if err != nil {
		m.t.Fatal(err)
	}
	m.put(tag, path+".new", string(text))
	path = filepath.Join(m.dirs[tag], path)
	if err := os.Chmod(path+".new", mode); err != nil {
		m.t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		m.t.Fatal(err)
	}
}

// ask calls a method of the test agent. It waits until the agent answers or the
// guest ends.
func ask[Reply any](m *machine, method string, args any) (reply Reply, err error) {
	call := m.agent.Go(probe.Service+"."+method, args, &reply, make(chan *rpc.Call, 1))
	select {
	case <-call.Done:
		return reply, call.Error
	case <-m.Ended():
		return reply, fmt.Errorf("%s: the guest has ended: %v", method, m.Wait())
	}
}

// tell calls a method of the test agent and does not wait for an answer.
func (m *machine) tell(method string, args any) {
	m.agent.Go(probe.Service+"."+method, args, new(json.RawMessage), make(chan *rpc.Call, 1))
}

// must is ask, and fails the test on an error.
func must[Reply any](t *testing.T, m *machine, method string, args any) Reply {
	t.Helper()
	reply, err := ask[Reply](m, method, args)
	if err != nil {
		t.Fatalf("%s(%v): %v", method, args, err)
	}
	return reply
}

type none = struct{}

func (m *machine) read(t *testing.T, path string) string {
	t.Helper()
	return string(must[[]byte](t, m, "ReadFile", path))
}

func (m *machine) stat(t *testing.T, path string) probe.Stat {
	t.Helper()
	return must[probe.Stat](t, m, "Stat", path)
}

// mount returns the topmost mount on a path, or nil.
func mount(mounts []probe.Mount, path string) *probe.Mount {
	for i := len(mounts) - 1; i >= 0; i-- {
		if mounts[i].Path == path {
			return &mounts[i]
		}
	}
	return nil
}

func (m *machine) run(t *testing.T, argv ...string) probe.Result {
	t.Helper()
	return must[probe.Result](t, m, "Run", probe.Command{Argv: argv})
}

// Command lines for the distribution's programs in the guest, with their own loader
// and libraries.
var (
	iptables    = tool("iptables", "xtables-nft-multi", "iptables")
	iptablesEnv = []string{"XTABLES_LIBDIR=/arcbox/tools/iptables/lib/xtables"}
	ip          = tool("ip", "ip")
)

func tool(name, program string, args ...string) []string {
	dir := "/arcbox/tools/" + name
	return slices.Clip(append([]string{dir + "/ld.so", "--library-path", dir + "/lib", dir + "/bin/" + program}, args...))
}

// iptables runs the real iptables-nft in the guest. In an emulated guest of another architecture about one run in 200 was killed by a
// segmentation fault (QEMU 7.2 on amd64), which says nothing about the rules. Such a run is repeated.
func (m *machine) iptables(t *testing.T, args ...string) (r probe.Result) {
	t.Helper()
	for range 3 {
		r = must[probe.Result](t, m, "Run", probe.Command{Argv: append(iptables, args...), Env: iptablesEnv})
		if r.Code >= 0 || arch() == runtime.GOARCH {
			break
		}
		t.Logf("iptables %q was killed by a signal", args)
	}
	return r
}

// eventually calls f until it returns no complaint, for at most 60 s. After that the
// test fails with the last complaint.
func eventually(t *testing.T, f func() (complaint string)) {
	t.Helper()
	eventuallyWithin(t, 60*time.Second, f)
}

// eventuallyWithin is eventually with another limit.
func eventuallyWithin(t *testing.T, limit time.Duration, f func() (complaint string)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	every := time.NewTicker(100 * time.Millisecond)
	defer every.Stop()
	for {
		complaint := f()
		if complaint == "" {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatal(complaint)
		case <-every.C:
		}
	}
}

// parseReport parses a boot's report.
func parseReport(t *testing.T, data []byte) arcsetup.Report {
	t.Helper()
	r, err := arcsetup.ParseReport(data)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// steps returns the results in a report by step name.
func steps(t *testing.T, report []byte) map[string]plan.Result {
	t.Helper()
	results := map[string]plan.Result{}
	for _, s := range parseReport(t, report).Steps {
		results[s.Step] = s
	}
	return results
}

// waitReport waits until the report on the share says that the plan has ended, and
// returns its results by step name.
func (m *machine) waitReport(t *testing.T) map[string]plan.Result {
	t.Helper()
	var data []byte
	eventually(t, func() string {
		var err error
		data, err = os.ReadFile(filepath.Join(m.dirs["arcbox"], "log/boot.json"))
		if err != nil {
			return err.Error()
		}
		var r struct {
			PlanEnded int64 `json:"plan_ended_ns"`
		}
		if err := json.Unmarshal(data, &r); err != nil || r.PlanEnded == 0 {
			return fmt.Sprintf("the boot's report is not finished: %s", data)
		}
		return ""
	})
	return steps(t, data)
}

// waitConsole waits for a line on the console.
func (m *machine) waitConsole(t *testing.T, text string) {
	t.Helper()
	m.waitMatch(t, regexp.MustCompile(regexp.QuoteMeta(text)))
}

// waitMatch is waitConsole with a regular expression.
func (m *machine) waitMatch(t *testing.T, re *regexp.Regexp) (match []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	match, err := m.WaitMatch(ctx, re)
	if err != nil {
		t.Fatal(err)
	}
	return match
}

// waitEnd waits until the guest has ended, and checks QEMU's reason.
func (m *machine) waitEnd(t *testing.T, reason string) {
	t.Helper()
	select {
	case <-m.Ended():
	case <-time.After(60 * time.Second):
		t.Fatal("the guest has not ended")
	}
	if err := m.Wait(); err != nil {
		t.Error(err)
	}
	if got := m.ShutdownReason(); got != reason {
		t.Errorf("QEMU says %q, want %q", got, reason)
	}
}
