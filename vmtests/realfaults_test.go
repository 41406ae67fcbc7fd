//go:build vmtest

package vmtests

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/arcinit/arcinit/pkg/arcsetup/plan"
	"github.com/arcinit/arcinit/vmtests/dhcppeer"
	"github.com/arcinit/arcinit/vmtests/probe"
	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/sys/unix"
)

// realFault is something that breaks in a guest or on its host.
type realFault struct {
	fault, when string
	// sampled faults are tried on the distribution's kernel, too.
	sampled bool
	// try has the fault happen in a guest, checks what must hold all the same, and returns what was seen in the words of
	// docs/faults.md.
	try func(*testing.T, kernel) (seen []string)
}

// The moments at which the host of the share arcbox goes.
const (
	beforeDriver = "before the guest loads the share's driver"
	beforeMount  = "before the guest mounts the share"
	beforeAgent  = "between the mount and the agent"
	whileUp      = "with the guest up; then the agent is killed"
	whileDown    = "during the shutdown"
)

func realFaults() (all []realFault) {
	for _, host := range []struct {
		fault  string
		signal syscall.Signal
	}{{"virtiofsd is killed", syscall.SIGKILL}, {"virtiofsd hangs for good", syscall.SIGSTOP}} {
		for _, when := range []string{beforeDriver, beforeMount, beforeAgent, whileUp, whileDown} {
			all = append(all, realFault{host.fault, when, host.signal == syscall.SIGKILL && when == whileUp,
				func(t *testing.T, k kernel) []string { return tryShare(t, k, host.signal, when) }})
		}
	}
	const first, up, squeezed = "from the start", "with the guest up", "for 5 s; the services are killed"
	return append(all, []realFault{
		{"the root's disk cannot be read", first, false, tryRootUnreadable},
		{"the root's disk cannot be written", up, true, func(t *testing.T, k kernel) []string { return tryDiskUnwritable(t, k, "/") }},
		{"a data disk cannot be written", up, false, func(t *testing.T, k kernel) []string { return tryDiskUnwritable(t, k, "/mnt") }},
		{"every tmpfs is full", up, true, tryFullTmpfs},
		{"the agent takes all memory", up, false, func(t *testing.T, k kernel) []string { return tryMemory(t, k, 0) }},
		{"the agent takes all memory of its cgroup", up, false, func(t *testing.T, k kernel) []string { return tryMemory(t, k, 64<<20) }},
		{fmt.Sprintf("the guest has %d MiB of memory", littleMemory), first, false, tryLittleMemory},
		{"PID 1 cannot open a file (RLIMIT_NOFILE)", squeezed, false, func(t *testing.T, k kernel) []string {
			return trySqueeze(t, k, probe.FilesOfPID1, 3, "agent")
		}},
		{"only root can open a file (fs.file-max)", squeezed, false, func(t *testing.T, k kernel) []string {
			return trySqueeze(t, k, "/proc/sys/fs/file-max", 1, "agent", "netd")
		}},
		{"no process can be started (kernel.threads-max)", squeezed, true, func(t *testing.T, k kernel) []string {
			return trySqueeze(t, k, threadsMax, leastThreads, "agent", "netd")
		}},
		{"no process can be started (kernel.threads-max)", "until power-off", false, tryNoProcesses},
		{"the VMM does not read the virtio port of arcbox.notify", up, false, tryDeafPort},
		{"nobody reads the vsock of arcbox.notify", first, false, tryDeafVsock},
	}...)
}

// TestRealFaults has each fault happen in a guest of its own, and compares what was seen with docs/faults.md. With UPDATE
// set in the environment, the test writes the table. This project's kernel, which boots fast, gets all faults, the
// distribution's a few.
func TestRealFaults(t *testing.T) {
	t.Parallel()
	eachKernel(t, func(t *testing.T, k kernel) {
		if k.name != "own" && k.name != "stock" {
			return
		}
		cells := outcomes(t, realColumns, func(when string) []string { return []string{when} })
		var mu sync.Mutex
		t.Run("faults", func(t *testing.T) {
			for _, f := range realFaults() {
				if k.name == "stock" && !f.sampled {
					continue
				}
				t.Run(f.fault+"/"+f.when, func(t *testing.T) {
					t.Parallel()
					seen := f.try(t, k)
					t.Logf("%q", seen)
					mu.Lock()
					defer mu.Unlock()
					if !t.Failed() {
						cells[cell{f.fault, f.when}] = strings.Join(seen, "; ")
					}
				})
			}
		})
		var rows [][3]string
		for _, f := range realFaults() {
			if seen := cells[cell{f.fault, f.when}]; seen != "" {
				rows = append(rows, [3]string{f.fault, f.when, seen})
			}
		}
		checkTable(t, realColumns, rows)
	})
}

// broken is a guest with a real fault.
type broken struct {
	*machine
	peers []*dhcppeer.Peer // of its networks
	// why is what the console says of each step that fails, but for the step faulty. Without why, no step may fail.
	why    []string
	faulty string
	// resume, if not nil, continues what serves the share. Nobody reads the report on the share then.
	resume func()
}

// bootBroken boots a guest with two networks.
func bootBroken(t *testing.T, k kernel, im image) *broken {
	t.Helper()
	b := &broken{}
	im.kernel, im.initrd = k.image, cmp.Or(im.initrd, k.initrd)
	im.nics, b.peers = dhcpPeers(t, time.Hour)
	b.machine = boot(t, im)
	return b
}

// works waits until both addresses of the guest answer.
func (b *broken) works(t *testing.T) {
	t.Helper()
	for i, p := range b.peers {
		answers(t, &p.Host, leased[i])
	}
}

// restarted says that the agent is restarted when it ends, and checks that.
func (b *broken) restarted(t *testing.T) string {
	t.Helper()
	b.crash(t, 6)
	return "the agent runs, and is restarted when it ends"
}

// press presses the power button until the guest shuts down. A press may come before the driver. Another press during the
// shutdown would shorten it.
func (b *broken) press(t *testing.T) {
	t.Helper()
	for range 12 {
		if err := b.PowerButton(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		_, err := b.WaitMatch(ctx, shutsDown)
		cancel()
		if err == nil {
			return
		}
	}
	t.Fatal("the guest does not hear its power button")
}

var (
	shutsDown = regexp.MustCompile(`arcinit: [^\n]*shutting down `)
	gaveUp    = regexp.MustCompile(`shutdown continues without waiting any longer for="(writing the logs)"`)
)

// end checks that the addresses answer, and powers the guest off unless it shuts down already. The guest must ask the kernel
// for power-off within 25 s of its own time. end returns what failed, and whether the shutdown waited for the share.
func (b *broken) end(t *testing.T) (seen []string) {
	t.Helper()
	if !shutsDown.MatchString(b.ConsoleText()) {
		b.works(t)
		b.press(t)
	}
	testInTime(t, b.machine)
	failures := b.failures(map[string]plan.Result{})
	delete(failures, b.faulty)
	for step, r := range failures {
		if b.why == nil || !hasAll(r.Error, b.why...) {
			t.Errorf("step %s failed, and the console says %q, want %q", step, r.Error, b.why)
		}
	}
	if len(failures) > 0 {
		seen = append(seen, "failed: "+strings.Join(slices.Sorted(maps.Keys(failures)), ", "))
	}
	if gaveUp := gaveUp.FindStringSubmatch(b.ConsoleText()); gaveUp != nil {
		seen = append(seen, "the shutdown gives up "+gaveUp[1])
	}
	if b.resume != nil {
		b.resume() // QEMU does not end while virtiofsd is stopped
	}
	b.waitEnd(t, "guest-shutdown")
	if b.resume == nil {
		testEnd(t, b.machine)
	}
	return seen
}

// tryShare has the host of the share go at a moment. In the guest, the agent is a script on the share, and the probe is a
// service that needs no share.
func tryShare(t *testing.T, k kernel, sig syscall.Signal, when string) (seen []string) {
	im := image{
		noAgent: true, executable: map[string]string{"/probe": built(t, "arcbox-agent")},
		shared: map[string]string{"etc/arcinit.toml": "[[service]]\nname = \"probe\"\nargv = [\"/probe\"]\n"},
		prepare: func(dir string) {
			err := os.Mkdir(filepath.Join(dir, "bin"), 0o755)
			if err := errors.Join(err, os.WriteFile(filepath.Join(dir, "bin/arcbox-agent"), []byte("#!/probe idle\n"), 0o755)); err != nil {
				t.Fatal(err)
			}
		},
	}
	faulty := ""
	switch when {
	case beforeMount:
		im.cmdline, faulty = []string{"root=/dev/nowhere", "rootwait=7"}, "switchroot"
	case beforeAgent:
		// The step ends at its limit, after 5 s.
		im.initrd, im.cmdline, faulty = "initramfs-fault.cpio", []string{"ARCBOX_FAULT=step_machineid=hang", "arcbox.log=debug", "loglevel=8"}, "machineid"
	}
	b := bootBroken(t, k, im)
	b.faulty, b.why = faulty, []string{"still running", "share"}
	switch when {
	case beforeDriver:
		b.waitConsole(t, "Linux version")
	case beforeMount:
		b.waitMatch(t, awaitsRoot)
	case beforeAgent:
		for _, step := range []string{"docker", "binfmt"} { // after them, only the agent and what follows needs the share
			b.waitMatch(t, regexp.MustCompile("step="+step+" outcome="))
		}
	case whileUp, whileDown:
		b.waitConsole(t, "guest is up")
		must[probe.AtStart](t, b.machine, "AtStart", none{})
		b.waitReport(t)
	}
	if when == whileDown {
		must[none](t, b.machine, "OnTerm", probe.OnTerm{Wait: 3 * time.Second})
		b.press(t)
	}
	if when == whileUp {
		// So PID 1 has services.log open on the share, or is about to.
		b.tell("WriteLines", 300_000)
		eventually(t, func() string {
			st, err := os.Stat(filepath.Join(b.dirs["arcbox"], "log/services.log"))
			if err != nil || st.Size() < 100_000 {
				return fmt.Sprintf("services.log is %v, %v", st, err)
			}
			return ""
		})
	}
	b.resume = signalShare(t, b.dirs["arcbox"], sig)

	switch {
	case when == whileDown:
	case when == whileUp:
		seen = append(seen, b.killAgent(t))
	case when == beforeDriver && sig == syscall.SIGSTOP:
		return b.vmmWaits(t)
	default:
		b.waitConsole(t, "guest is up")
		seen = append(seen, "no agent, because its program is on the share") // as the step's error says, see end
		if hasLine(b.ConsoleText(), "service started", "service=agent ") {
			seen[0] = "the agent runs"
		}
	}
	if when == beforeAgent {
		outcome(t, b.machine, "agent", "failed", "still running", "the share with the agent's program")
	}
	return append(seen, b.end(t)...)
}

// killAgent kills the agent of tryShare and returns what becomes of it. The service probe is restarted all the same.
func (b *broken) killAgent(t *testing.T) (seen string) {
	t.Helper()
	before := serviceStatus(t, b.machine, "agent")
	must[none](t, b.machine, "Kill", probe.Signal{PID: before.PID, Number: 9})
	eventually(t, func() string {
		now, waits := serviceStatus(t, b.machine, "agent"), waitsIn(t, b.machine, 1)
		waitsForShare := slices.ContainsFunc(waits, func(f string) bool { return hasAll(f, "wait_answer") || hasAll(f, "fuse") })
		switch {
		case now.Starts > before.Starts:
			seen = "the agent is restarted"
		case now.Ends > before.Ends && waitsForShare:
			seen = "the agent is not restarted, because its program is on the share"
		default:
			return fmt.Sprintf("the agent was killed, and is %+v; PID 1 waits in %q", now, waits)
		}
		return ""
	})
	old := must[probe.AtStart](t, b.machine, "AtStart", none{}).PID
	b.tell("Kill", probe.Signal{PID: old, Number: 9})
	// The old process may take a question that it cannot answer any more.
	b.waitMatch(t, regexp.MustCompile(`(?s)service started service=probe .*service started service=probe `))
	if now := must[probe.AtStart](t, b.machine, "AtStart", none{}).PID; now == old {
		t.Errorf("the service probe, process %d, was killed and answers", old)
	}
	return seen
}

// vmmWaits checks a guest whose VMM itself waits for virtiofsd. It has virtiofsd go on.
func (b *broken) vmmWaits(t *testing.T) []string {
	t.Helper()
	answered := make(chan error)
	eventually(t, func() string {
		go func() {
			_, err := b.QMP(t.Context(), "query-status", nil)
			answered <- err
		}()
		select {
		case err := <-answered:
			return fmt.Sprintf("QEMU answers (%v)", err)
		case <-time.After(5 * time.Second):
			return ""
		}
	})
	b.resume()
	if err := <-answered; err != nil {
		t.Error(err)
	}
	b.resume, b.why = nil, nil
	must[probe.AtStart](t, b.machine, "AtStart", none{})
	b.waitReport(t)
	return append([]string{"QEMU hangs, and the guest with it; the agent runs when virtiofsd is back"}, b.end(t)...)
}

// blkdebug is a disk with a fault (docs/devel/blkdebug.txt in QEMU's source). breakWrites begins the fault "write".
func blkdebug(file, fault string) (qemu []string) {
	rules := "file.inject-error.0.event=none,file.inject-error.0.iotype=read"
	if fault == "write" {
		// The first write of zeroes changes the state. The guest itself cannot write zeroes in this way.
		rules = "file.set-state.0.event=pwritev_zero,file.set-state.0.state=1,file.set-state.0.new_state=2," +
			"file.inject-error.0.event=write_aio,file.inject-error.0.state=2,file.inject-error.0.iotype=write"
	}
	return []string{
		"-blockdev", "driver=raw,node-name=bad,file.driver=blkdebug,file.image.driver=file,file.image.filename=" + file +
			"," + rules + ",file.inject-error.0.errno=5,file.inject-error.0.once=off",
		"-device", "virtio-blk-pci,id=disk,drive=bad,write-zeroes=off,discard=off",
	}
}

// breakWrites has all writes to the disk fail from now on.
func (b *broken) breakWrites(t *testing.T) {
	t.Helper()
	// An ext4 does not use the first sector.
	b.qmp(t, "human-monitor-command", map[string]any{"command-line": `qemu-io -d /machine/peripheral/disk/virtio-backend "write -z 0 512"`})
}

func tryRootUnreadable(t *testing.T, k kernel) []string {
	b := bootBroken(t, k, image{
		qemu: blkdebug(ext4Disk(t, t.TempDir(), "root"), "read"), cmdline: []string{"root=/dev/vda", "rootwait=3"},
	})
	b.why = []string{"root=/dev/vda", "input/output error"}
	checkOutcome(t, b.waitReport(t)["switchroot"], "switchroot", "failed", b.why...)
	where := "the root is " + root(t, b.machine).FSType
	if where == "the root is rootfs" {
		where = "the guest stays on its initramfs"
	}
	return append([]string{where, b.restarted(t)}, b.end(t)...)
}

// tryDiskUnwritable has writes to an ext4 fail that is mounted on a path, the root by the guest and others by the agent.
func tryDiskUnwritable(t *testing.T, k kernel, path string) []string {
	disk := ext4Disk(t, t.TempDir(), "data")
	im := image{qemu: blkdebug(disk, "write")}
	if path == "/" {
		im.cmdline = []string{"root=/dev/vda", "rw"}
	}
	b := bootBroken(t, k, im)
	b.waitReport(t)
	if path != "/" {
		must[none](t, b.machine, "Mount", probe.MountRequest{Source: "/dev/vda", Target: path, FSType: "ext4"})
	}
	if mp := mount(must[[]probe.Mount](t, b.machine, "Mounts", none{}), path); mp.FSType != "ext4" {
		t.Fatalf("%s is %+v", path, mp)
	}
	must[none](t, b.machine, "WriteSync", writeFile{filepath.Join(path, "before"), []byte("safe")})
	b.breakWrites(t)
	for _, file := range []string{"during", "after"} {
		if _, err := ask[none](b.machine, "WriteSync", writeFile{filepath.Join(path, file), []byte("lost")}); err == nil || !hasAll(err.Error(), file) {
			t.Errorf("write %s to the broken disk: %v", file, err)
		}
	}
	seen := append([]string{b.restarted(t)}, b.end(t)...)
	state := "the disk's journal needs recovery"
	if isClean(t, disk) {
		state = "the disk is clean"
	}
	// e2fsck repairs the file system, which has what was written before.
	command(t, "", "sh", "-c", "PATH=$PATH:/usr/sbin; e2fsck -fp "+disk+"; [ $? -le 1 ]")
	copied := filepath.Join(t.TempDir(), "before")
	command(t, "", "debugfs", "-R", "dump /before "+copied, disk)
	if got, err := os.ReadFile(copied); err != nil || string(got) != "safe" {
		t.Errorf("the file that was written before has %q, %v", got, err)
	}
	return append(seen, state+"; nothing that was written before is lost")
}

// tryFullTmpfs fills every tmpfs. Each is made small before, because all together are larger than the memory.
func tryFullTmpfs(t *testing.T, k kernel) []string {
	b := bootBroken(t, k, image{})
	b.waitReport(t)
	filled := 0
	for _, mp := range must[[]probe.Mount](t, b.machine, "Mounts", none{}) {
		if mp.Root != "/" || !slices.Contains([]string{"tmpfs", "rootfs", "devtmpfs"}, mp.FSType) || b.stat(t, mp.Path).Bytes == 0 {
			continue // not a tmpfs of the guest's own: a bind mount, a share, a ramfs
		}
		var flags uintptr
		for option, flag := range map[string]uintptr{"nosuid": unix.MS_NOSUID, "nodev": unix.MS_NODEV, "noexec": unix.MS_NOEXEC} {
			if slices.Contains(mp.Options, option) {
				flags |= flag
			}
		}
		for mib := 4; ; mib *= 2 { // the kernel refuses a size below what is in use
			_, err := ask[none](b.machine, "Mount", probe.MountRequest{Target: mp.Path, Flags: unix.MS_REMOUNT | flags, Data: fmt.Sprintf("size=%dm", mib)})
			if err == nil {
				break
			}
			if mib > 512 {
				t.Fatal(err)
			}
		}
		must[none](t, b.machine, "Fill", filepath.Join(mp.Path, "filled"))
		if _, err := ask[none](b.machine, "WriteFile", writeFile{filepath.Join(mp.Path, "more"), []byte("more")}); err == nil || !hasAll(err.Error(), "no space left on device") {
			t.Errorf("%s is not full: %v", mp.Path, err)
		}
		filled++
	}
	if filled < 6 {
		t.Errorf("the guest has only %d file systems in memory", filled)
	}
	seen := []string{b.restarted(t)} // as the report on the share says
	logged(t, b.machine, "arcinit: ", "boot.json", "no space left on device")
	if hostStatus(t, b.machine, "agent").Ends == 1 && serviceStatus(t, b.machine, "agent").Ends == 0 {
		seen = append(seen, "the report is written to the share alone")
	}
	return append(seen, b.end(t)...)
}

// tryMemory has the agent take memory until the kernel kills it. With a limit, in bytes, the agent is in a cgroup.
func tryMemory(t *testing.T, k kernel, limit int) []string {
	b := bootBroken(t, k, image{})
	b.waitReport(t)
	before := must[probe.AtStart](t, b.machine, "AtStart", none{})
	b.tell("Hog", limit)
	b.waitRestart(t, before.PID, "signal SIGKILL")
	var killed []string
	for _, r := range must[[]probe.Record](t, b.machine, "KernelLog", none{}) {
		if hasAll(r.Text, "ut of memory: Killed process ") {
			killed = append(killed, r.Text)
		}
	}
	if len(killed) != 1 || !hasAll(killed[0], fmt.Sprintf(" %d (", before.PID)) || hasAll(killed[0], "cgroup") != (limit > 0) {
		t.Errorf("the kernel killed %q, want process %d alone", killed, before.PID)
	}
	if got := hostStatus(t, b.machine, "netd"); got.Ends > 0 {
		t.Errorf("the network daemon is %+v", got)
	}
	return append([]string{"the kernel kills the agent alone, which is restarted"}, b.end(t)...)
}

// littleMemory, in MiB, has a margin: this project's kernel boots with 64.
const littleMemory = 96

func tryLittleMemory(t *testing.T, k kernel) []string {
	b := bootBroken(t, k, image{memory: littleMemory})
	b.waitReport(t)
	return append([]string{b.restarted(t)}, b.end(t)...)
}

// The kernel parameter that limits the number of processes and threads, and its least value, which the kernel's own
// threads exceed.
const (
	threadsMax   = "/proc/sys/kernel/threads-max"
	leastThreads = 20
)

// squeeze limits something in a guest for a time, and kills these services.
func (b *broken) squeeze(t *testing.T, s probe.Squeeze, services ...string) {
	t.Helper()
	b.waitReport(t)
	for _, name := range services {
		s.Kill = append(s.Kill, hostStatus(t, b.machine, name).PID)
	}
	b.tell("Squeeze", s)
}

var (
	cannotStart = regexp.MustCompile(`arcinit: cannot start the service; [^\n]*service=(\w+) err="[^"\n]*: ([^":\n]*)"`)
	netdEnds    = regexp.MustCompile(`netd: network daemon ended err="[^"\n]*: ([^":\n]*)"`)
)

// trySqueeze limits something for 5 s and kills these services. The console says why a service is not restarted. When the
// limit has gone, each is restarted.
func trySqueeze(t *testing.T, k kernel, what string, limit int, services ...string) (seen []string) {
	b := bootBroken(t, k, image{})
	b.works(t)
	talks := []talk{since(b.peers[0]), since(b.peers[1])}
	old := must[probe.AtStart](t, b.machine, "AtStart", none{}).PID
	b.squeeze(t, probe.Squeeze{What: what, Limit: limit, For: 5 * time.Second}, services...)
	eventually(t, func() string {
		if now := hostStatus(t, b.machine, "agent"); now.PID == 0 || now.PID == old {
			return fmt.Sprintf("the agent, process %d, was killed and is %+v", old, now)
		}
		return ""
	})
	if slices.Contains(services, "netd") {
		for _, talk := range talks { // a new network daemon asks the servers whether it can keep the addresses
			talk.sent(t, dhcpv4.MessageTypeAck)
		}
	}
	console := b.ConsoleText()
	for _, name := range services {
		state := "PID 1 restarts " + name
		for _, match := range cannotStart.FindAllStringSubmatch(console, -1) {
			if match[1] == name {
				state = fmt.Sprintf("PID 1 cannot restart %s meanwhile (%s)", name, match[2])
			}
		}
		if match := netdEnds.FindStringSubmatch(console); name == "netd" && match != nil {
			state = fmt.Sprintf("netd ends again meanwhile (%s)", match[1])
		}
		seen = append(seen, state)
	}
	seen = append(seen, "then "+b.restarted(t))
	return append(seen, b.end(t)...)
}

// tryNoProcesses presses the power button while no process or thread can be started.
func tryNoProcesses(t *testing.T, k kernel) (seen []string) {
	b := bootBroken(t, k, image{})
	b.works(t)
	b.squeeze(t, probe.Squeeze{What: threadsMax, Limit: leastThreads, For: time.Hour}, "agent", "netd")
	for _, name := range []string{"agent", "netd"} {
		match := b.waitMatch(t, regexp.MustCompile(strings.Replace(cannotStart.String(), `(\w+)`, "("+name+")", 1)))
		seen = append(seen, fmt.Sprintf("PID 1 cannot restart %s (%s)", name, match[2]))
	}
	return append(seen, b.end(t)...)
}

// tryDeafPort has the host read nothing from the port that it is notified on: the port is a FIFO, which is full.
func tryDeafPort(t *testing.T, k kernel) []string {
	fifo := filepath.Join(t.TempDir(), "port")
	for _, end := range []string{".in", ".out"} {
		if err := unix.Mkfifo(fifo+end, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out, err := unix.Open(fifo+".out", unix.O_RDWR|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(out) })
	for err == nil {
		_, err = unix.Write(out, make([]byte, 4096))
	}
	b := bootBroken(t, k, image{
		qemu:    []string{"-chardev", "pipe,id=deaf,path=" + fifo, "-device", "virtserialport,bus=ports.0,chardev=deaf,name=deaf"},
		cmdline: []string{"arcbox.notify=virtio-port:deaf"},
	})
	b.waitReport(t)
	// The few notifications of a boot have room in the device's queue.
	eventually(t, func() string {
		for _, file := range must[[]string](t, b.machine, "Glob", "/sys/class/virtio-ports/*/name") {
			if b.read(t, file) != "deaf\n" {
				continue
			}
			_, err := ask[none](b.machine, "FillPort", "/dev/"+filepath.Base(filepath.Dir(file)))
			if err == nil {
				return ""
			}
			return err.Error() // PID 1 has it open
		}
		return "the guest has no port"
	})
	return b.deaf(t)
}

// tryDeafVsock has nobody accept the connections of the notifications. The host of this test has no vsock, so the listener
// is in the guest (see TestNotifySockets).
func tryDeafVsock(t *testing.T, k kernel) []string {
	b := bootBroken(t, k, image{cmdline: []string{"arcbox.notify=vsock:1:9999"}})
	must[none](t, b.machine, "Listen", probe.Listen{Port: 9999})
	b.waitReport(t)
	return b.deaf(t)
}

// deaf checks a guest whose notifications nobody reads.
func (b *broken) deaf(t *testing.T) []string {
	t.Helper()
	seen := append([]string{b.restarted(t)}, b.end(t)...)
	if hasLine(b.ConsoleText(), "arcinit: ", "cannot notify the host") {
		seen = append(seen, "the console says that the host is not notified")
	}
	return seen
}
