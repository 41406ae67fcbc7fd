//go:build vmtest

package vmtests

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/arcinit/arcinit/pkg/arcsetup"
	"github.com/arcinit/arcinit/vmtests/guest"
	"github.com/arcinit/arcinit/vmtests/probe"
)

// fullGuest is a guest with everything that a host can offer.
func fullGuest() image {
	return image{
		tags:    []string{"private", "users", "arcbox-dax"},
		nics:    []guest.NIC{guest.PrimaryNIC(), guest.BridgeNIC()},
		tools:   true,
		cmdline: []string{"ARCBOX_VMM_CONFIG=/arcbox/vmm.toml", "loglevel=8"},
		files: map[string]string{
			"/etc/alternatives/iptables":   "the image's own\n",
			"/etc/passwd":                  "root:x:0:0:root:/root:/bin/bash\nimage:x:1000:1000::/:/bin/sh", // a last line without an end
			"/etc/docker/daemon.json":      "\ufeff{\"Dns\": [\"192.0.2.53\"], \"experimental\": true}",
			"/cacerts/ca-certificates.crt": "certificates\n",
		},
		shared: map[string]string{
			"vmm.toml":         "\ufeff[network]\r\ncidr\t= \"172.30.16.0/20\"\r\n",
			"etc/arcinit.toml": "\ufeff[docker.daemon]\r\ndebug = true\r\n[docker.daemon.features]\ncdi = true\n[sysctl]\nvm.swappiness = 10\nnet.netfilter.nf_conntrack_max = 54321\nnet.ipv4.conf.all.accept_redirects = 1\n",
			"log/arcinit.log":  "the boot before\n",
		},
	}
}

// TestRows boots each kernel and checks every row of the specification.
func TestRows(t *testing.T) {
	t.Parallel()
	eachKernel(t, func(t *testing.T, k kernel) {
		m := boot(t, k.on(t, fullGuest()))
		r := &rows{T: t, kernel: k, m: m}
		testRows(r, m)
		t.Run("root", func(t *testing.T) { testPivot(t, m) })
		t.Run("again", func(t *testing.T) { testAgain(t, m) })
		t.Run("report", func(t *testing.T) { testReport(t, m) })
		t.Run("plan", func(t *testing.T) { testPlan(t, m) })
		t.Run("privileges", func(t *testing.T) { testPrivileges(t, m) })
		t.Run("agent/restarted", func(t *testing.T) { m.crash(t, 3) })
		t.Run("jailer/firecracker", func(t *testing.T) { testFirecracker(t, m, k) })
		if k.own() {
			t.Run("features", func(t *testing.T) { testFeatures(t, m) })
		}
		linux := regexp.MustCompile(`^\d+\.\d+`).FindString(m.read(t, "/proc/sys/kernel/osrelease"))
		r.Run("powerbutton", func(t *testing.T) {
			waitButton(t, m, must[probe.AtStart](t, m, "AtStart", none{}).PPID)
			pressButton(t, m)
		})
		if _, lacks := k.lacks["powerbutton"]; lacks {
			t.Run("poweroff", func(t *testing.T) { testPowerOff(t, m) })
		}
		if !t.Failed() {
			checkMatrix(t, seen{kernel: k, linux: linux, proved: r.proved})
		}
	})
}

// on makes an image boot with this kernel and its initramfs, or else from a copy of its disk, which gets the image's files.
func (k kernel) on(t *testing.T, im image) image {
	t.Helper()
	im.kernel, im.initrd = k.image, k.initrd
	if filepath.Ext(k.initrd) != ".erofs" {
		return im
	}
	tree := filepath.Join(t.TempDir(), "tree")
	command(t, "", "fsck.erofs", "--extract="+tree, built(t, im.initrd))
	addFiles(t, tree, im.files)
	im.files, im.noInitrd, im.disks = nil, true, []guest.Disk{{File: erofsDisk(t, tree)}}
	im.cmdline = append(im.cmdline, "root=/dev/vda", "ro", "rootfstype=erofs")
	return im
}

// eachKernel runs a test with each kernel of the guests' architecture that KERNELS
// names in the environment.
func eachKernel(t *testing.T, test func(*testing.T, kernel)) {
	for _, k := range kernels() {
		name, _, _ := strings.Cut(k.name, " ")
		if k.arch == arch() && slices.Contains(strings.Fields(os.Getenv("KERNELS")), name) {
			t.Run(k.name, func(t *testing.T) { test(t, k) })
		}
	}
}

// rows is a test of the specification's rows. It counts the rows that hold. Where the
// kernel cannot support a row, it proves that instead.
type rows struct {
	*testing.T
	kernel kernel
	m      *machine
	proved int
}

func (r *rows) Run(row string, test func(*testing.T)) bool {
	r.Helper()
	if why, lacks := r.kernel.lacks[row]; lacks {
		return r.T.Run(row, func(t *testing.T) { testLacks(t, r.m, r.kernel, row, why) })
	}
	ok := r.T.Run(row, test)
	if ok {
		r.proved++
	}
	return ok
}

// testLacks proves that a row cannot hold on this kernel.
func testLacks(t *testing.T, m *machine, k kernel, row, why string) {
	config, err := os.ReadFile(built(t, k.config))
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasPrefix(why, "CONFIG_") && !strings.Contains(string(config), "\n# "+why+"\n") {
		t.Errorf("%s has no line: %s", k.config, why)
	}
	switch row {
	case "powerbutton":
		if inputs := must[[]string](t, m, "Glob", "/sys/class/input/event*"); len(inputs) > 0 {
			t.Errorf("there are input devices: %v", inputs)
		}
	default:
		t.Errorf("no test proves that %s cannot hold", row)
	}
}

// TestUnderAnotherInit boots u-root's own init, which runs this program as uinit. All
// rows hold there too.
func TestUnderAnotherInit(t *testing.T) {
	t.Parallel()
	im := fullGuest()
	im.initrd = "initramfs-uinit.cpio"
	const kept = "0123456789abcdef0123456789abcdef\n"
	im.shared["etc/machine-id"] = kept // of an earlier boot
	m := boot(t, im)
	if comm := strings.TrimSpace(m.read(t, "/proc/1/comm")); comm != "init" {
		t.Errorf("PID 1 is %q, want u-root's init", comm)
	}
	testRows(&rows{T: t, m: m}, m)
	t.Run("machineid/kept", func(t *testing.T) {
		if id := m.read(t, "/etc/machine-id"); id != kept {
			t.Errorf("the machine ID is %q, at the last boot it was %q", id, kept)
		}
	})
	t.Run("again", func(t *testing.T) { testAgain(t, m) })
	t.Run("power button", func(t *testing.T) { testPowerButton(t, m) })
}

// testPivot changes the root as a container runtime does, in a mount name space and
// in a user name space.
func testPivot(t *testing.T, m *machine) {
	for _, user := range []bool{false, true} {
		left, err := ask[string](m, "Pivot", user)
		if err != nil || left != "/old\n" {
			t.Errorf("pivot_root, user name space %v: %q, %v", user, left, err)
		}
	}
}

// testRows checks what must hold when the agent starts.
func testRows(t *rows, m *machine) {
	start := must[probe.AtStart](t.T, m, "AtStart", none{})
	mounted := func(t *testing.T, path, fsType string, options ...string) *probe.Mount {
		t.Helper()
		mp := mount(start.Mounts, path)
		if mp == nil {
			t.Fatalf("nothing is mounted on %s", path)
		}
		if mp.FSType != fsType {
			t.Errorf("%s on %s, want %s", mp.FSType, path, fsType)
		}
		for _, o := range []string{"nosuid", "nodev", "noexec", "ro"} {
			if slices.Contains(mp.Options, o) != slices.Contains(options, o) {
				t.Errorf("%s is mounted with %v, want %v", path, mp.Options, options)
			}
		}
		return mp
	}
	mode := func(t *testing.T, path string, want fs.FileMode) {
		t.Helper()
		if got := m.stat(t, path).Mode & (fs.ModePerm | fs.ModeSticky); got != want {
			t.Errorf("%s has mode %v, want %v", path, got, want)
		}
	}
	share := func(t *testing.T, tag, path string) {
		t.Helper()
		if mp := mounted(t, path, "virtiofs"); mp.Source != tag {
			t.Errorf("%s is the share %s, want %s", path, mp.Source, tag)
		}
		if got := m.read(t, path+"/where"); got != tag {
			t.Errorf("%s/where holds %q, the host wrote %q", path, got, tag)
		}
	}

	t.Run("clock", func(t *testing.T) { testClock(t, m, start, "already") })
	t.Run("early", func(t *testing.T) {
		mounted(t, "/proc", "proc", "nosuid", "nodev", "noexec")
		mounted(t, "/sys", "sysfs", "nosuid", "nodev", "noexec")
		mounted(t, "/dev", "devtmpfs", "nosuid")
		share(t, "arcbox", "/arcbox")
	})
	t.Run("nofile", func(t *testing.T) {
		want := [2]string{"1048576", "1048576"}
		if start.NOFILE != want || start.ParentNOFILE != want {
			t.Errorf("soft and hard limit are %v for children of the agent and %v for its parent, want %v", start.NOFILE, start.ParentNOFILE, want)
		}
		for name, pid := range map[string]int{"the agent": start.PID, "its parent": start.PPID, "the network daemon": serviceStatus(t, m, "netd").PID} {
			limits := m.read(t, fmt.Sprintf("/proc/%d/limits", pid))
			if !strings.Contains(strings.Join(strings.Fields(limits), " "), "Max open files 1048576 1048576 files") {
				t.Errorf("process %d, %s:\n%s", pid, name, limits)
			}
		}
		var nrOpen int
		if _, err := fmt.Sscan(m.read(t, "/proc/sys/fs/nr_open"), &nrOpen); err != nil || nrOpen < 1048576 {
			t.Errorf("fs.nr_open is %d, %v", nrOpen, err)
		}
	})
	t.Run("private", func(t *testing.T) { share(t, "private", "/private") })
	t.Run("users", func(t *testing.T) {
		share(t, "users", "/Users")
		must[none](t, m, "WriteFile", writeFile{"/Users/from-guest", []byte("hello")})
	})
	t.Run("layers", func(t *testing.T) {
		for path, want := range map[string]fs.FileMode{"/tmp": 0o777 | fs.ModeSticky, "/run": 0o755, "/var": 0o755, "/etc": 0o755} {
			mounted(t, path, "tmpfs", "nosuid", "nodev")
			mode(t, path, want)
		}
		if got := m.read(t, "/etc/alternatives/iptables"); got != "the image's own\n" {
			t.Errorf("the image's file in /etc holds %q", got)
		}
	})
	t.Run("jailer", func(t *testing.T) {
		for _, dir := range []string{"/var/lib/arcbox/jailer", "/var/jail"} {
			mounted(t, dir, "tmpfs", "nosuid")
			mode(t, dir, 0o700)
			if _, err := ask[none](m, "MakeNode", probe.Node{Dir: dir}); err != nil {
				t.Errorf("a device node in %s: %v", dir, err)
			}
		}
		if _, err := ask[none](m, "MakeNode", probe.Node{Dir: "/var"}); err == nil {
			t.Error("a device node can be opened in /var, which is nodev")
		}
	})
	t.Run("hosts", func(t *testing.T) {
		if got := strings.TrimSpace(m.read(t, "/proc/sys/kernel/hostname")); got != "arcbox" {
			t.Errorf("the host name is %q, want arcbox", got)
		}
		got := hostsTable(m.read(t, "/etc/hosts"))
		for address, name := range map[string]string{"127.0.0.1": "localhost", "::1": "localhost", "127.0.1.1": "arcbox"} {
			if !slices.Equal(got[address], []string{name}) {
				t.Errorf("/etc/hosts has %v for %s, want %s", got[address], address, name)
			}
		}
	})
	t.Run("accounts", func(t *testing.T) {
		passwd, group := m.read(t, "/etc/passwd"), m.read(t, "/etc/group")
		for _, want := range []string{"root:x:0:0:", "nobody:x:65534:65534:", "image:x:1000:"} {
			if !strings.Contains("\n"+passwd, "\n"+want) {
				t.Errorf("/etc/passwd has no %s: %q", want, passwd)
			}
		}
		for _, want := range []string{"root:x:0:", "tty:x:5:", "nobody:x:65534:"} {
			if !strings.Contains("\n"+group, "\n"+want) {
				t.Errorf("/etc/group has no %s: %q", want, group)
			}
		}
	})
	t.Run("docker", func(t *testing.T) {
		var daemon struct {
			DNS   []string
			Debug bool // set in arcinit.toml

			Experimental bool // set in the image
			Ulimits      map[string]struct {
				Name       string
				Soft, Hard int
			} `json:"default-ulimits"`
			Features map[string]bool
		}
		text := m.read(t, "/etc/docker/daemon.json")
		if err := json.Unmarshal([]byte(text), &daemon); err != nil || strings.Contains(text, "Dns") {
			t.Fatalf("%v, or the image's spelling of dns is left: %s", err, text)
		}
		nofile := daemon.Ulimits["nofile"]
		if !slices.Equal(daemon.DNS, []string{"10.0.2.1"}) || nofile.Name != "nofile" || nofile.Soft != 1048576 || nofile.Hard != 1048576 ||
			!daemon.Features["containerd-snapshotter"] || !daemon.Features["cdi"] || !daemon.Debug || !daemon.Experimental {
			t.Errorf("daemon.json has %+v", daemon)
		}
	})
	t.Run("machineid", func(t *testing.T) {
		id := m.read(t, "/etc/machine-id")
		if !regexp.MustCompile(`^[0-9a-f]{32}\n$`).MatchString(id) {
			t.Errorf("the machine ID is %q, want 32 hex digits", id)
		}
		m.waitReport(t) // the share gets a new machine ID after the agent was started
		if kept := m.get("etc/machine-id"); kept != id {
			t.Errorf("the machine ID is %q, the share has %q", id, kept)
		}
	})
	t.Run("sysctl", func(t *testing.T) {
		for path, least := range map[string]int{
			"fs/inotify/max_user_instances": 8192, "fs/inotify/max_user_watches": 1 << 20, "fs/aio-max-nr": 1 << 20,
			"vm/max_map_count": 1 << 20, "kernel/keys/maxkeys": 1e6, "kernel/keys/maxbytes": 25e6, "kernel/pid_max": 1 << 22,
			"net/core/somaxconn": 32768, "net/core/rmem_max": 7.5e6, "net/core/wmem_max": 7.5e6,
		} {
			if n, err := strconv.Atoi(strings.TrimSpace(m.read(t, "/proc/sys/"+path))); err != nil || n < least {
				t.Errorf("%s is %d, want %d at least", path, n, least)
			}
		}
		// nf_conntrack_max appears with a module of the firewall; forwarding resets
		// accept_redirects.
		for path, want := range map[string]string{
			"vm/swappiness": "10", "net/netfilter/nf_conntrack_max": "54321", "net/ipv4/conf/all/accept_redirects": "1",
		} {
			if got := strings.TrimSpace(m.read(t, "/proc/sys/"+path)); got != want {
				t.Errorf("%s is %s, the host configured %s", path, got, want)
			}
		}
	})
	t.Run("ca", func(t *testing.T) {
		const link = "/etc/ssl/certs/ca-certificates.crt"
		if got := m.stat(t, link).Target; got != "/cacerts/ca-certificates.crt" {
			t.Errorf("%s links to %q", link, got)
		}
		if got := m.read(t, link); got != "certificates\n" {
			t.Errorf("%s holds %q", link, got)
		}
	})
	t.Run("dirs", func(t *testing.T) {
		for _, dir := range []string{"/var/lib/docker", "/var/run/docker", "/run/containerd"} {
			if st := m.stat(t, dir); !st.Mode.IsDir() {
				t.Errorf("%s is %v", dir, st.Mode)
			}
		}
		if got := m.stat(t, "/var/run").Target; got != "/run" {
			t.Errorf("/var/run links to %q", got)
		}
	})
	t.Run("cgroup", func(t *testing.T) {
		mp := mounted(t, "/sys/fs/cgroup", "cgroup2", "nosuid", "nodev", "noexec")
		for _, o := range []string{"nsdelegate", "memory_recursiveprot"} {
			if !slices.Contains(mp.SuperOptions, o) {
				t.Errorf("/sys/fs/cgroup has options %v, not %s", mp.SuperOptions, o)
			}
		}
		controllers := strings.Fields(m.read(t, "/sys/fs/cgroup/cgroup.controllers"))
		for _, c := range []string{"cpu", "memory", "pids", "io", "cpuset"} {
			if !slices.Contains(controllers, c) {
				t.Errorf("controllers are %v, without %s", controllers, c)
			}
		}
		for _, mp := range start.Mounts {
			if mp.FSType == "cgroup" {
				t.Errorf("cgroup v1 is mounted on %s", mp.Path)
			}
		}
	})
	t.Run("devpts", func(t *testing.T) {
		mp := mounted(t, "/dev/pts", "devpts", "nosuid", "noexec")
		for _, o := range []string{"gid=5", "mode=620", "ptmxmode=666"} {
			if !slices.Contains(mp.SuperOptions, o) {
				t.Errorf("/dev/pts has options %v, not %s", mp.SuperOptions, o)
			}
		}
		if pty := must[probe.Stat](t, m, "Pty", none{}); pty.GID != 5 || pty.Mode.Perm() != 0o620 {
			t.Errorf("a terminal has group %d and mode %v", pty.GID, pty.Mode)
		}
	})
	t.Run("shm", func(t *testing.T) {
		mounted(t, "/dev/shm", "tmpfs", "nosuid", "nodev", "noexec")
		mode(t, "/dev/shm", 0o777|fs.ModeSticky)
	})
	t.Run("cache", func(t *testing.T) { testCache(t, m, start) })
	t.Run("devlinks", func(t *testing.T) {
		for path, want := range map[string]string{
			"/dev/fd": "/proc/self/fd", "/dev/stdin": "/proc/self/fd/0",
			"/dev/stdout": "/proc/self/fd/1", "/dev/stderr": "/proc/self/fd/2",
		} {
			if got := m.stat(t, path).Target; got != want {
				t.Errorf("%s links to %q, want %q", path, got, want)
			}
		}
	})
	t.Run("nodes", func(t *testing.T) {
		m.waitReport(t) // the nodes get their modes after the agent was started
		for path, want := range map[string]fs.FileMode{"/dev/fuse": 0o666, "/dev/net/tun": 0o666, "/dev/loop-control": 0o660, "/dev/btrfs-control": 0o660} {
			mode(t, path, want)
		}
		// To open the node loads the driver.
		m.ip(t, "tuntap", "add", "dev", "node0", "mode", "tun")
		m.ip(t, "tuntap", "del", "dev", "node0", "mode", "tun")
	})
	t.Run("forward", func(t *testing.T) {
		if got := m.read(t, "/proc/sys/net/ipv4/ip_forward"); got != "1\n" {
			t.Errorf("ip_forward is %q", got)
		}
		lo := link(start.Links, "lo")
		if lo == nil || !lo.Up || !slices.Contains(lo.Addresses, "127.0.0.1/8") {
			t.Errorf("lo is %+v", lo)
		}
	})
	t.Run("primary", func(t *testing.T) { testPrimary(t, m) })
	t.Run("bridge", func(t *testing.T) { testBridge(t, m) })
	// Both NICs have their addresses now. The network daemon applies these rows before
	// it configures an address.
	t.Run("fwbridge", func(t *testing.T) {
		testRules(t, m, bridgeRules("eth1")...)
	})
	t.Run("fwsandbox", func(t *testing.T) {
		testRules(t, m, "-s 172.30.16.0/20 -j ACCEPT", "-d 172.30.16.0/20 -j ACCEPT")
	})
	t.Run("isolation", func(t *testing.T) {
		testRules(t, m, "-s 169.254.100.2/32 -j ACCEPT", "-d 169.254.100.2/32 -j ACCEPT")
		want := "-P PREROUTING ACCEPT\n-A PREROUTING -d 172.30.16.1/32 -i vmtap+ -j ACCEPT\n-A PREROUTING -d 172.30.16.0/20 -i vmtap+ -j DROP\n"
		if got := m.iptables(t, "-t", "mangle", "-S", "PREROUTING"); got.Stdout != want || got.Stderr != "" {
			t.Errorf("code %d, the guards are\n%s%s", got.Code, got.Stdout, got.Stderr)
		}
	})
	t.Run("proxyarp", func(t *testing.T) {
		for path, want := range map[string]string{
			"conf/eth1/proxy_arp": "1\n", "neigh/eth1/proxy_delay": "0\n", "conf/eth0/proxy_arp": "0\n",
		} {
			if got := m.read(t, "/proc/sys/net/ipv4/"+path); got != want {
				t.Errorf("%s is %q, want %q", path, got, want)
			}
		}
	})
	t.Run("resolv", func(t *testing.T) {
		// Both leases, which name DNS servers, have arrived.
		st := m.stat(t, "/etc/resolv.conf")
		if got := m.read(t, "/etc/resolv.conf"); got != "nameserver 127.0.0.1\n" || !st.Mode.IsRegular() {
			t.Errorf("/etc/resolv.conf, a %v, holds %q", st.Mode, got)
		}
	})
	t.Run("oom", func(t *testing.T) {
		for process, want := range map[string]string{fmt.Sprint(start.PPID): "-999\n", fmt.Sprint(start.PID): "0\n"} {
			if got := m.read(t, "/proc/"+process+"/oom_score_adj"); got != want {
				t.Errorf("oom_score_adj of process %s is %q, want %q", process, got, want)
			}
		}
	})
	t.Run("rcu", func(t *testing.T) {
		const file = "/sys/kernel/rcu_expedited"
		if there := must[[]string](t, m, "Glob", file); len(there) > 0 && start.RCUExpedited != "1\n" {
			t.Errorf("%s was %q when the agent started, want 1", file, start.RCUExpedited)
		}
	})
	t.Run("propagation", func(t *testing.T) {
		for _, mp := range start.Mounts {
			if !mp.Shared {
				t.Errorf("%s is not shared", mp.Path)
			}
		}
	})
	t.Run("dax", func(t *testing.T) {
		// QEMU has no DAX window, so the kernel must refuse the option, and the share
		// must not be mounted without it.
		if mp := mount(start.Mounts, "/run/arcbox-dax"); mp != nil {
			t.Errorf("mounted without DAX: %+v", mp)
		}
		const reason = "dax can't be enabled as filesystem device does not support it"
		if got := m.waitReport(t)["dax"]; got.Outcome != "unavailable" || !strings.Contains(got.Error, "dax=always") {
			t.Errorf("step dax ended %q: %s", got.Outcome, got.Error)
		}
		tries := 0
		for _, r := range must[[]probe.Record](t, m, "KernelLog", none{}) {
			if strings.HasPrefix(r.Text, "virtio-fs: ") && strings.Contains(r.Text, reason) {
				tries++
			}
		}
		if tries != 1 {
			t.Errorf("the kernel refused dax %d times, want once", tries)
		}
		for _, mp := range start.Mounts {
			if mp.Source == "arcbox-dax" {
				t.Errorf("the share is mounted on %s", mp.Path)
			}
		}
	})
	t.Run("log", func(t *testing.T) { testLog(t, m) })
	t.Run("agent", func(t *testing.T) {
		init := strings.TrimSpace(m.read(t, fmt.Sprintf("/proc/%d/comm", start.PPID)))
		if init != "init" && init != "uinit" {
			t.Errorf("the agent's parent is %d, %q", start.PPID, init)
		}
		found := m.waitReport(t)
		for name, s := range found {
			if s.Outcome == "failed" {
				t.Errorf("step %s failed", name)
			}
			// What the agent does not need follows its start.
			if later := []string{"log", "sysctl", "keepid", "dax", "hotplug"}; slices.Contains(later, name) && s.Start < found["agent"].End {
				t.Errorf("step %s began at %v, before the agent was started at %v", name, s.Start, found["agent"].End)
			}
		}
	})
}

// testCache compares the CPU's caches with the attributes that the kernel itself has.
func testCache(t *testing.T, m *machine, start probe.AtStart) {
	const caches = "/sys/devices/system/cpu/cpu0/cache"
	mounted := map[string]*probe.Mount{}
	for i, mp := range start.Mounts {
		if strings.HasPrefix(mp.Path, "/sys/devices/") {
			mounted[mp.Path] = &start.Mounts[i]
		}
	}
	got := m.waitReport(t)["cache"]
	if arch() != "arm64" {
		if len(mounted) > 0 || got.Outcome != "already" && got.Outcome != "unavailable" {
			t.Errorf("step cache ended %q; mounted are %v", got.Outcome, mounted)
		}
		return
	}
	if got.Outcome != "ok" {
		t.Errorf("step cache ended %q: %s", got.Outcome, got.Error)
	}
	dirs := must[[]string](t, m, "Glob", caches+"/index*")
	if len(dirs) < 3 || len(mounted) != len(dirs) {
		t.Fatalf("the caches are %v, mounted on them are %v", dirs, mounted)
	}
	for i, dir := range dirs {
		if mounted[dir] == nil {
			t.Fatalf("nothing is mounted on %s", dir)
		}
		without := must[probe.Result](t, m, "RunWithout", probe.Without{Mount: dir, Argv: []string{"/arcbox/bin/arcbox-agent", "files", dir}})
		var want map[string]string
		if err := json.Unmarshal([]byte(without.Stdout), &want); err != nil || want["level"] == "" || want["shared_cpu_list"] == "" {
			t.Fatalf("%s below the mount: %v, %+v", dir, err, without)
		}
		filled := [][3]string{{"64K", "64", "256"}, {"64K", "64", "256"}, {"1024K", "64", "2048"}, {"8192K", "64", "8192"}}[min(i, 3)]
		for j, name := range []string{"size", "coherency_line_size", "number_of_sets"} {
			if value, ok := want[name]; ok {
				t.Errorf("the kernel itself has %s/%s, %q: this proves nothing", dir, name, value)
			}
			want[name] = filled[j] + "\n"
		}
		if got := must[map[string]string](t, m, "Files", dir); !maps.Equal(got, want) {
			t.Errorf("%s has %q, want %q", dir, got, want)
		}
	}
}

// hostsTable reads /etc/hosts: the names of each address.
func hostsTable(text string) map[string][]string {
	table := map[string][]string{}
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) > 1 {
			table[f[0]] = append(table[f[0]], f[1:]...)
		}
	}
	return table
}

func link(links []probe.Link, name string) *probe.Link {
	for i := range links {
		if links[i].Name == name {
			return &links[i]
		}
	}
	return nil
}

// testRules checks with the real iptables that each rule is there exactly once, in
// both chains.
func testRules(t *testing.T, m *machine, rules ...string) {
	t.Helper()
	for _, chain := range []string{"FORWARD", "DOCKER-USER"} {
		eventually(t, func() string {
			list := m.iptables(t, "-S", chain)
			for _, rule := range rules {
				line := "-A " + chain + " " + rule + "\n"
				if n := strings.Count(list.Stdout, line); n != 1 || list.Code != 0 || list.Stderr != "" {
					return fmt.Sprintf("%d times %q in\n%s%s", n, line, list.Stdout, list.Stderr)
				}
			}
			return ""
		})
		for _, rule := range rules {
			if check := m.iptables(t, append([]string{"-C", chain}, strings.Fields(rule)...)...); check.Code != 0 {
				t.Errorf("iptables -C %s %s ended with code %d: %s", chain, rule, check.Code, check.Stderr)
			}
		}
	}
	if policy := m.iptables(t, "-S", "FORWARD").Stdout; !strings.HasPrefix(policy, "-P FORWARD ACCEPT\n") {
		t.Errorf("the policy of FORWARD: %q", policy)
	}
}

// address waits until a link is up and has an address.
func address(t *testing.T, m *machine, name, want string) {
	t.Helper()
	eventually(t, func() string {
		l := link(must[[]probe.Link](t, m, "Links", none{}), name)
		if l == nil || !l.Up || !slices.Contains(l.Addresses, want) {
			return fmt.Sprintf("%s is %+v, want it to have %s", name, l, want)
		}
		return ""
	})
}

// defaultRoute checks that there is one default route, over the primary NIC.
func defaultRoute(t *testing.T, m *machine, gateway string) {
	t.Helper()
	eventually(t, func() string {
		routes := must[[]probe.Route](t, m, "Routes", none{})
		defaults := slices.DeleteFunc(routes, func(r probe.Route) bool { return r.Dst != "" })
		if want := []probe.Route{{Gateway: gateway, Link: "eth0"}}; !slices.Equal(defaults, want) {
			return fmt.Sprintf("default routes are %+v, want %+v", defaults, want)
		}
		return ""
	})
}

func testPrimary(t *testing.T, m *machine) {
	address(t, m, "eth0", "10.0.2.15/24")
	defaultRoute(t, m, "10.0.2.1")

	// QEMU forwards the gateway's address to the host.
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close() //nolint:errcheck // a test's server
	go func() {
		conn, err := server.Accept()
		if err != nil {
			return
		}
		defer conn.Close() //nolint:errcheck // a test's connection
		if line, err := bufio.NewReader(conn).ReadString('\n'); err == nil {
			_, _ = fmt.Fprint(conn, "echo ", line)
		}
	}()
	_, port, _ := net.SplitHostPort(server.Addr().String())
	if got := must[string](t, m, "Dial", "10.0.2.1:"+port); got != "echo hello\n" {
		t.Errorf("the host answered %q", got)
	}
}

func testBridge(t *testing.T, m *machine) {
	address(t, m, "eth1", "192.168.64.15/24")
	want := []probe.Route{{Dst: "192.168.64.0/24", Link: "eth1"}}
	var got []probe.Route
	for _, r := range must[[]probe.Route](t, m, "Routes", none{}) {
		if r.Link == "eth1" {
			got = append(got, r)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("routes over eth1 are %+v, want %+v", got, want)
	}
}

// testLog compares the log file on the share with the kernel log, which has every
// line of it, with a level.
func testLog(t *testing.T, m *machine) {
	count := fmt.Sprintf("%d steps", len(m.waitReport(t))) // the end of the boot
	var log string
	eventually(t, func() string {
		if log = m.get("log/arcinit.log"); !hasLine(log, "arcinit: ", "service=agent ", "pid=") || !hasLine(log, "arcinit: ", count) {
			return "the log on the share is:\n" + log
		}
		return ""
	})
	levels := map[string]int{}
	for _, r := range must[[]probe.Record](t, m, "KernelLog", none{}) {
		levels[r.Text] = r.Level
	}
	for line := range strings.Lines(log) {
		// A line begins with a time and a level.
		if text := regexp.MustCompile(`^\S+ +\S+ +(.*)\n`).FindStringSubmatch(line); text == nil || levels[kernelText(text[1])] == 0 {
			t.Errorf("the kernel log, of %d lines, does not have %q", len(levels), line)
		}
	}
	if r := logged(t, m, "arcinit: ", count); r.Level != 5 {
		t.Errorf("the end of the boot has level %d: %s", r.Level, r.Text)
	}
	for text := range levels {
		if hasAll(text, "arcinit: ", "step=", "outcome=ok") && !strings.Contains(text, "err=") {
			t.Errorf("a step that went well is in the log: %s", text)
		}
	}
	if r := logged(t, m, "arcinit: ", "service=agent ", "pid="); r.Level != 6 {
		t.Errorf("the start of a service has level %d: %s", r.Level, r.Text)
	}
	if got := m.get("log/arcinit.log.1"); got != "the boot before\n" {
		t.Errorf("the last boot's log is %q", got)
	}
}

// kernelText returns a line as /dev/kmsg shows it, which escapes all but printable ASCII
// (Documentation/ABI/testing/dev-kmsg).
func kernelText(line string) string {
	var b strings.Builder
	for _, c := range []byte(line) {
		if c < ' ' || c > '~' || c == '\\' {
			fmt.Fprintf(&b, `\x%02x`, c)
			continue
		}
		b.WriteByte(c)
	}
	return b.String()
}

// testAgain runs uinit a second time in the live guest, which must change nothing.
func testAgain(t *testing.T, m *machine) {
	if len(must[[]string](t, m, "Glob", "/sys/class/net/eth0")) > 0 {
		eventually(t, func() string { // the network daemon does so when it has a lease
			if hosts := m.read(t, "/etc/hosts"); !strings.Contains(hosts, "host.docker.internal") {
				return "/etc/hosts does not name the host: " + hosts
			}
			return ""
		})
	}
	snapshot := func() map[string]string {
		s := map[string]string{
			"mounts": m.read(t, "/proc/self/mountinfo"),
			"rules":  m.iptables(t, "-S").Stdout,
			"routes": fmt.Sprintf("%+v", must[[]probe.Route](t, m, "Routes", none{})),
			"links":  fmt.Sprintf("%+v", must[[]probe.Link](t, m, "Links", none{})),
		}
		for _, pattern := range []string{"/*", "/etc/*", "/etc/*/*", "/etc/ssl/*/*", "/run/*", "/run/arcbox/*", "/var/*", "/var/lib/*", "/dev/*"} {
			for _, path := range must[[]string](t, m, "Glob", pattern) {
				st := m.stat(t, path)
				// boot.json and net.json change with every event.
				if st.Mode.IsRegular() && !strings.HasSuffix(path, ".json") {
					s[path] = m.read(t, path)
				}
				s[path] += fmt.Sprint(st.Mode, st.UID, st.GID, st.Target)
			}
		}
		s["daemon.json"] = m.read(t, "/etc/docker/daemon.json")
		return s
	}
	again := runAgain(t, m, arcsetup.ProgramPath, snapshot)
	if n := strings.Count(again, " already "); n < 15 {
		t.Errorf("%d steps ended already, want most of them:\n%s", n, again)
	}
}

// runAgain runs uinit in the live guest and returns its output. Nothing that snapshot
// returns may change.
func runAgain(t *testing.T, m *machine, uinit string, snapshot func() map[string]string) string {
	t.Helper()
	before := snapshot()
	again := m.run(t, uinit)
	if again.Code != 0 {
		t.Errorf("uinit ended with code %d: %s", again.Code, again.Stderr)
	}
	for line := range strings.Lines(again.Stdout) {
		if f := strings.Fields(line); len(f) > 3 && (f[3] == "ok" || f[3] == "failed") {
			t.Errorf("run again: %s", line)
		}
	}
	after := snapshot()
	for what := range before {
		if before[what] != after[what] {
			t.Errorf("%s changed from\n%s\nto\n%s", what, before[what], after[what])
		}
	}
	for what := range after {
		if _, ok := before[what]; !ok {
			t.Errorf("%s is new", what)
		}
	}
	return again.Stdout
}

// testReport checks that uinit prints the boot and the network.
func testReport(t *testing.T, m *machine) {
	r := m.run(t, arcsetup.ProgramPath, "report")
	if r.Code != 0 {
		t.Fatalf("uinit report ended with code %d: %s", r.Code, r.Stderr)
	}
	for _, facts := range [][]string{
		{" early ", " ok "}, {" agent ", " ok "},
		{"eth0 ", " primary ", " bound ", "10.0.2.15/24"}, {"eth1 ", " bridge ", " bound ", "192.168.64.15/24"},
	} {
		if !hasLine(r.Stdout, facts...) {
			t.Errorf("uinit report prints no line with %q:\n%s", facts, r.Stdout)
		}
	}
	_, version := buildOf(t)
	kept, printed := parseReport(t, []byte(m.read(t, arcsetup.ReportPath))).Version, m.run(t, arcsetup.ProgramPath, "version").Stdout
	if kept != version || strings.TrimSpace(printed) != version {
		t.Errorf("the report names version %q, uinit version %q, want %q", kept, printed, version)
	}
}

// testPlan checks that uinit prints every step of this boot.
func testPlan(t *testing.T, m *machine) {
	r := m.run(t, arcsetup.ProgramPath, "plan")
	if r.Code != 0 {
		t.Fatalf("uinit plan ended with code %d: %s", r.Code, r.Stderr)
	}
	for step := range steps(t, []byte(m.read(t, arcsetup.ReportPath))) {
		if !strings.Contains(r.Stdout, "\n"+step+" ") {
			t.Errorf("uinit plan does not print step %s:\n%s", step, r.Stdout)
		}
	}
}

// testPowerOff ends the guest with uinit.
func testPowerOff(t *testing.T, m *machine) {
	// The agent may have ended before it can answer.
	r, err := ask[probe.Result](m, "Run", probe.Command{Argv: []string{arcsetup.ProgramPath, "poweroff"}})
	if err == nil && r.Code != 0 {
		t.Fatalf("uinit poweroff ended with code %d: %s", r.Code, r.Stderr)
	}
	m.waitEnd(t, "guest-shutdown")
	testEnd(t, m)
}

// testEnd checks the last report and the log on the share, which cover the shutdown:
// every service has ended.
func testEnd(t *testing.T, m *machine) {
	t.Helper()
	log := m.get("log/arcinit.log")
	for _, s := range parseReport(t, []byte(m.get("log/boot.json"))).Services {
		if s.PID != 0 {
			t.Errorf("in the last report service %s is %+v, still running", s.Name, s)
		}
		if s.Ends > 0 && !hasLine(log, "arcinit: ", "service="+s.Name+" ", s.LastEnd) {
			t.Errorf("arcinit.log does not have the end of service %s, %s:\n%s", s.Name, s.LastEnd, log)
		}
	}
}
