//go:build vmtest

package vmtests

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/arcinit/arcinit/vmtests/busybox"
	"github.com/arcinit/arcinit/vmtests/dhcppeer"
	"github.com/arcinit/arcinit/vmtests/guest"
	"github.com/arcinit/arcinit/vmtests/probe"
)

// engine is a container engine and how it is tested.
type engine struct {
	// daemon are the keys of [docker.daemon] that it needs.
	daemon string
	// nftables says that it writes its firewall itself, over nftables.
	nftables bool
	// cannot are the checks that do not hold, as docs/docker.md explains: if one
	// does after all, that is said.
	cannot []string
	// open is a command after which they do, as docs/docker.md says.
	open []string
}

// unheeded are the checks that do not hold where arcinit's rules are in tables
// that the engine does not look at.
var unheeded = []string{
	"direct/unpublished", "direct/ping", "FORWARD DROP/unpublished", "FORWARD DROP/ping",
	"restart/unpublished", "restart/ping",
}

// engines are those that scripts/docker.sh makes disks of, each with what writes
// its firewall. What is said of 28.5 is to hold for each one after it, too.
var engines = map[string]engine{
	"28.5-nft": {daemon: "allow-direct-routing = true"},
	"28.5-legacy": {
		daemon: "allow-direct-routing = true",
		cannot: unheeded,
		open:   strings.Fields("iptables -I DOCKER-USER -i eth1 -j ACCEPT"),
	},
	"29-nftables": {
		daemon:   "allow-direct-routing = true\nfirewall-backend = 'nftables'\nbridge-accept-fwmark = '1'",
		nftables: true,
		cannot:   unheeded,
		open:     strings.Fields("iptables -t mangle -A PREROUTING -i eth1 -j MARK --set-mark 1"),
	},
	"26.1-nft":  {},
	"20.10-nft": {},
}

// TestDocker has containerd and dockerd of a disk run containers in a guest that
// arcinit set up. ENGINES names the engines.
func TestDocker(t *testing.T) {
	names := strings.Fields(os.Getenv("ENGINES"))
	if len(names) == 0 {
		t.Skip("ENGINES names no engine: they come from releases of Debian, and this is none, or make was told so")
	}
	for _, name := range names {
		disk, diskless := strings.CutSuffix(name, "-diskless")
		e, ok := engines[disk]
		if !ok {
			t.Fatalf("ENGINES=%s is none of the engines", name)
		}
		disk = built(t, "docker/"+disk+".erofs")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diskless {
				testEngine(t, e, image{tags: []string{"private"}}, disk)
				return
			}
			testEngine(t, e, image{
				disks:   []guest.Disk{{File: disk}},
				cmdline: []string{"root=/dev/vda", "ro", "rootfstype=erofs"},
			}, "")
		})
	}
}

// dockerGuest is a guest with an engine in it.
type dockerGuest struct {
	*machine
	engine
	primary, bridge *dhcppeer.Peer
	dockerd         int        // its process
	web             netip.Addr // the container of that name
}

// testEngine boots the image, to which it adds what each guest has. Its programs are
// on its own disk, or on the share private, as this disk has them.
func testEngine(t *testing.T, e engine, im image, onShare string) {
	nics, peers := dhcpPeers(t, time.Hour)
	im.nics, im.tags = nics, append(im.tags, "users")
	im.shared = map[string]string{"etc/arcinit.toml": "[docker.daemon]\n" + e.daemon + "\n"}
	im.cpus, im.memory, im.timeout = 2, 1536, 15*time.Minute
	m := boot(t, im)
	d := &dockerGuest{machine: m, engine: e, primary: peers[0], bridge: peers[1]}
	t.Cleanup(func() {
		if t.Failed() {
			for _, daemon := range []string{"containerd", "dockerd"} {
				text, _ := os.ReadFile(filepath.Join(m.dirs["arcbox"], daemon+".log"))
				t.Logf("%s:\n%s", daemon, text)
			}
		}
	})
	if err := busybox.WriteImage(filepath.Join(m.dirs["arcbox"], "image.tar"), built(t, "swapin/usr/bin/busybox")); err != nil {
		t.Fatal(err)
	}
	comesUp(t, m)
	if onShare != "" {
		d.useShare(t, onShare)
	}
	address(t, m, "eth0", primaryAddress)
	address(t, m, "eth1", bridgeAddress)
	// All addresses of containers are looked for on the bridge NIC's link.
	if err := d.bridge.Route(netip.MustParsePrefix("172.17.0.0/16")); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	must[int](t, m, "Start", probe.Daemon{Argv: []string{"containerd"}, Log: "/arcbox/containerd.log"})
	d.startEngine(t)
	t.Logf("the engine answers after %v: %s", time.Since(begin),
		d.docker(t, "info", "-f", "{{.ServerVersion}}, storage {{.Driver}}, cgroup v{{.CgroupVersion}} by {{.CgroupDriver}}"))
	d.docker(t, "import", "/arcbox/image.tar", "busybox")

	// What containers are by themselves. These are no parallel subtests: while it
	// waits for such ones a test does not count as running, and the next engine's
	// guest would be booted, too, in the end all at once.
	t.Run("containers", func(t *testing.T) {
		for name, test := range map[string]func(*testing.T, *dockerGuest){
			"container": testContainer, "memory": testMemoryLimit, "cpu": testCPULimit, "pids": testPIDsLimit,
			"rshared": testSharedVolume,
		} {
			t.Run(name, func(t *testing.T) { test(t, d) })
		}
	})
	// What is there with a container that runs, and has to stay as it is.
	d.startWeb(t)
	t.Run("FORWARD", func(t *testing.T) {
		if rules := d.rules(t); !strings.HasPrefix(rules, "-P FORWARD ACCEPT\n") {
			t.Errorf("the rules are\n%s", rules)
		}
	})
	t.Run("outbound", func(t *testing.T) { testOutbound(t, d) })
	t.Run("published", func(t *testing.T) { d.published(t) })
	t.Run("direct", func(t *testing.T) { d.direct(t, "direct") })
	t.Run("FORWARD DROP", func(t *testing.T) {
		d.command(t, "iptables", "-P", "FORWARD", "DROP")
		defer d.command(t, "iptables", "-P", "FORWARD", "ACCEPT")
		d.direct(t, "FORWARD DROP")
	})
	t.Run("users", func(t *testing.T) { testBindMount(t, d) })
	t.Run("again", func(t *testing.T) { testAgainBeside(t, d) })
	t.Run("restart", func(t *testing.T) { testEngineRestart(t, d) })
	if d.open != nil {
		t.Run("opened", func(t *testing.T) {
			d.command(t, d.open...)
			d.direct(t, "opened")
		})
	}
	t.Logf("all of it took %v", time.Since(begin))
}

// useShare puts what a disk holds on the share private, and from there into the
// root, which is the initramfs: on the share itself it works, too, but each start of
// a program reads it anew (virtiofsd's cache=auto), which takes minutes.
func (d *dockerGuest) useShare(t *testing.T, disk string) {
	t.Helper()
	if mp := root(t, d.machine); mp.FSType != "rootfs" {
		t.Fatalf("/ is %+v, want the initramfs", mp)
	}
	command(t, "", "fsck.erofs", "--extract="+filepath.Join(d.dirs["private"], "system"), disk)
	d.command(t, "/private/system/usr/bin/busybox", "sh", "-ec", `
		b=/private/system/usr/bin/busybox
		$b mkdir -p /mnt
		$b cp -a /private/system/usr /
		for path in /usr/lib/* /usr/lib64/* /usr/bin/sh; do
			link=${path#/usr}
			$b mkdir -p ${link%/*}
			[ -e $link ] || $b ln -s $path $link
		done`)
}

// startEngine starts dockerd and waits for it to answer, which takes half a minute
// where nothing else runs.
func (d *dockerGuest) startEngine(t *testing.T) {
	t.Helper()
	d.dockerd = must[int](t, d.machine, "Start", probe.Daemon{
		Argv: []string{"dockerd", "--containerd=/run/containerd/containerd.sock"}, Log: "/arcbox/dockerd.log",
	})
	eventuallyWithin(t, 4*time.Minute, func() string {
		if strings.Contains(d.get("dockerd.log"), "dockerd ended") {
			t.Fatal("dockerd has ended")
		}
		if r := d.run(t, "docker", "version"); r.Code != 0 {
			return "dockerd does not answer: " + r.Stderr
		}
		return ""
	})
}

// docker has the engine's own client do something, and returns what it says.
func (d *dockerGuest) docker(t *testing.T, args ...string) string {
	t.Helper()
	return d.command(t, append([]string{"docker"}, args...)...)
}

// command runs a program of the disk, which must succeed, and returns what it says.
func (d *dockerGuest) command(t *testing.T, argv ...string) string {
	t.Helper()
	r := d.run(t, argv...)
	if r.Code != 0 {
		t.Fatalf("%q ended with code %d: %s%s", argv, r.Code, r.Stdout, r.Stderr)
	}
	return r.Stdout
}

// shell has a new container run a line of shell.
func (d *dockerGuest) shell(t *testing.T, line string, options ...string) probe.Result {
	t.Helper()
	argv := append([]string{"docker", "run", "--rm"}, options...)
	return d.run(t, append(argv, "busybox", "sh", "-c", line)...)
}

// testContainer looks around in a container with a terminal.
func testContainer(t *testing.T, d *dockerGuest) {
	const next = "next"
	looks := []struct {
		name, line string
		want       []string // how each line of what it prints begins
	}{
		{"cgroup", "cat /proc/self/cgroup; grep cgroup2 /proc/mounts", []string{"0::/", "cgroup /sys/fs/cgroup cgroup2 ro,nosuid,nodev,noexec"}},
		{"nofile", "ulimit -Sn; ulimit -Hn", []string{"1048576", "1048576"}},
		{"resolvconf", "grep ^nameserver /etc/resolv.conf", []string{"nameserver 10.0.2.1"}},
		{"shm", "grep ' /dev/shm ' /proc/mounts; echo hello >/dev/shm/file && cat /dev/shm/file", []string{"shm /dev/shm tmpfs rw,", "hello"}},
		{"devpts", "tty; stat -c '%a %g' /dev/pts/0; grep ' /dev/pts ' /proc/mounts", []string{"/dev/pts/0", "620 5", "devpts /dev/pts devpts rw,nosuid,noexec"}},
	}
	var script strings.Builder
	for _, look := range looks {
		fmt.Fprintf(&script, "%s\necho %s\n", look.line, next)
	}
	r := d.shell(t, script.String(), "--tty")
	said := strings.Split(r.Stdout, next)
	if r.Code != 0 || len(said) != len(looks)+1 {
		t.Fatalf("code %d: %s%s", r.Code, r.Stdout, r.Stderr)
	}
	for i, look := range looks {
		t.Run(look.name, func(t *testing.T) {
			lines := strings.Split(strings.TrimSpace(said[i]), "\n")
			right := len(lines) == len(look.want)
			for j := 0; right && j < len(lines); j++ {
				right = strings.HasPrefix(lines[j], look.want[j])
			}
			if !right {
				t.Errorf("%s: %q, want %q", look.line, lines, look.want)
			}
		})
	}
}

// testMemoryLimit has containers read more into memory than they may have, and less.
func testMemoryLimit(t *testing.T, d *dockerGuest) {
	const killed = 128 + int(syscall.SIGKILL)
	for size, want := range map[string]int{"16M": 0, "128M": killed} {
		// A block is read into memory as a whole.
		if r := d.shell(t, "exec dd if=/dev/zero of=/dev/null count=1 bs="+size, "--memory=64m"); r.Code != want {
			t.Errorf("of 64 MiB, %s: code %d, want %d: %s", size, r.Code, want, r.Stderr)
		}
	}
}

// testCPULimit has a container want a whole processor.
func testCPULimit(t *testing.T, d *dockerGuest) {
	// What is used is looked at within the time that is: a pause between two looks
	// counts as time alone.
	const uptime, used = "cat /proc/uptime; ", "grep -E '^(usage_usec|nr_throttled) ' /sys/fs/cgroup/cpu.stat; "
	r := d.shell(t, uptime+used+"timeout 4 sh -c 'while :; do :; done'; "+used+uptime, "--cpus=0.2")
	f := strings.Fields(r.Stdout)
	if r.Code != 0 || len(f) != 12 {
		t.Fatalf("code %d: %s%s", r.Code, r.Stdout, r.Stderr)
	}
	number := func(i int) float64 {
		n, err := strconv.ParseFloat(f[i], 64)
		if err != nil {
			t.Fatalf("%q: %v", f, err)
		}
		return n
	}
	share, throttled := (number(7)-number(3))/1e6/(number(10)-number(0)), number(9)-number(5)
	t.Logf("of 0.2 processors it had %.2f, and was throttled %.0f times", share, throttled)
	if share > 0.3 || throttled < 10 {
		t.Errorf("of 0.2 processors it had %.2f, and was throttled %.0f times", share, throttled)
	}
}

// testPIDsLimit has a container start more processes than it may have.
func testPIDsLimit(t *testing.T, d *dockerGuest) {
	r := d.shell(t, "i=0; while [ $i -lt 100 ]; do sleep 100 & i=$((i+1)); echo $i; done", "--pids-limit=16")
	if n := strings.Count(r.Stdout, "\n"); r.Code == 0 || n < 8 || n > 15 || !strings.Contains(r.Stderr, "can't fork") {
		t.Errorf("with 16 processes allowed it started %d, code %d: %s", n, r.Code, r.Stderr)
	}
}

// testSharedVolume has mounts appear on both sides of a volume.
func testSharedVolume(t *testing.T, d *dockerGuest) {
	must[none](t, d.machine, "Mount", probe.MountRequest{Source: "volume", Target: "/mnt", FSType: "tmpfs"})
	d.docker(t, "run", "-d", "--name=shared", "--cap-add=SYS_ADMIN", "-v", "/mnt:/mnt:rshared", "busybox",
		"sh", "-c", "mkdir /mnt/in && mount -t tmpfs inside /mnt/in && exec sleep 1000")
	eventually(t, func() string {
		if m := mount(must[[]probe.Mount](t, d.machine, "Mounts", none{}), "/mnt/in"); m == nil || m.Source != "inside" {
			return fmt.Sprintf("what the container mounts is not seen outside: %+v", m)
		}
		return ""
	})
	must[none](t, d.machine, "Mount", probe.MountRequest{Source: "outside", Target: "/mnt/out", FSType: "tmpfs"})
	if r := d.run(t, "docker", "exec", "shared", "grep", "^outside /mnt/out ", "/proc/mounts"); r.Code != 0 {
		t.Errorf("what is mounted outside is not seen in the container: %s", r.Stderr)
	}
	d.docker(t, "rm", "-f", "shared")
}

// startWeb starts a container that serves what the host shares, over HTTP on a port
// that is published, and sends back lines on one that is not.
func (d *dockerGuest) startWeb(t *testing.T) {
	t.Helper()
	d.put("users", "site/index.html", "first\n")
	// The first process of a container ignores SIGTERM, and would be waited for.
	d.docker(t, "run", "-d", "--name=web", "--stop-signal=KILL", "-p", "8080:80", "-v", "/Users/site:/www:ro", "busybox",
		"sh", "-c", "nc -ll -p 7 -e cat & exec httpd -f -p 80 -h /www")
	d.findWeb(t)
}

// findWeb waits for the container to serve, as the guest itself sees it.
func (d *dockerGuest) findWeb(t *testing.T) {
	t.Helper()
	said := d.docker(t, "inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", "web")
	var err error
	if d.web, err = netip.ParseAddr(strings.TrimSpace(said)); err != nil {
		t.Fatal(err)
	}
	for _, port := range []string{"7", "80"} {
		eventually(t, func() string {
			if _, err := ask[string](d.machine, "Dial", d.web.String()+":"+port); err != nil {
				return err.Error()
			}
			return ""
		})
	}
}

// fetch has a host get the page at an address.
func fetch(t *testing.T, from *dhcppeer.Host, to netip.AddrPort) (page string, err error) {
	client := http.Client{
		Timeout: 5 * time.Second,
		Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return from.Dial(ctx, to)
			},
		},
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+to.String()+"/index.html", nil)
	if err != nil {
		return "", err
	}
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close() //nolint:errcheck // only read from
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", to, response.Status)
	}
	return string(body), err
}

// served has a host get the page, which must be this one.
func served(t *testing.T, from *dhcppeer.Host, to netip.AddrPort, want string) error {
	page, err := fetch(t, from, to)
	if err == nil && page != want {
		err = fmt.Errorf("%s serves %q, want %q", to, page, want)
	}
	return err
}

// published has the port that is published answer from the primary side.
func (d *dockerGuest) published(t *testing.T) {
	t.Helper()
	if err := served(t, &d.primary.Host, netip.AddrPortFrom(leased[0], 8080), "first\n"); err != nil {
		t.Error(err)
	}
}

// direct has the container's own address answer from the bridge side, to which it
// is but proxy ARP that says where it is.
func (d *dockerGuest) direct(t *testing.T, name string) {
	t.Helper()
	host := &d.bridge.Host
	d.holds(t, name+"/published", served(t, host, netip.AddrPortFrom(d.web, 80), "first\n"))
	d.holds(t, name+"/unpublished", talked(t, host, netip.AddrPortFrom(d.web, 7), 5*time.Second))
	d.holds(t, name+"/ping", pinged(t, host, d.web))
}

// holds takes what a check says: it has to hold, unless it is known that it cannot.
func (d *dockerGuest) holds(t *testing.T, check string, err error) {
	t.Helper()
	cannot := slices.Contains(d.cannot, check)
	if err != nil && !cannot {
		t.Errorf("%s: %v", check, err)
	}
	if err == nil && cannot {
		t.Errorf("%s holds, which it is said not to", check)
	}
}

// testOutbound has the container connect to a host beyond the primary NIC's
// gateway, which says where that came from.
func testOutbound(t *testing.T, d *dockerGuest) {
	host, err := d.primary.Beyond(beyondPrimary)
	if err != nil {
		t.Fatal(err)
	}
	answerLines(t, host, func(from net.Addr, _ string) string { return from.String() + "\n" })
	r := d.run(t, "docker", "exec", "web", "sh", "-c", "echo hello | nc -w 10 "+beyondPrimary.String()+" 7")
	if from, err := netip.ParseAddrPort(strings.TrimSpace(r.Stdout)); r.Code != 0 || err != nil || from.Addr() != leased[0] {
		t.Errorf("code %d, the host was connected to from %q, want %s: %s", r.Code, r.Stdout, leased[0], r.Stderr)
	}
}

// testBindMount has the container serve a file of the host's, and what becomes of
// it.
func testBindMount(t *testing.T, d *dockerGuest) {
	to := netip.AddrPortFrom(d.web, 80)
	for _, text := range []string{"second\n", "third, and longer\n", "first\n"} {
		d.put("users", "site/index.html", text)
		// The guest may believe for a second what it knew (virtiofsd's cache=auto).
		eventually(t, func() string {
			if err := served(t, &d.bridge.Host, to, text); err != nil {
				return err.Error()
			}
			return ""
		})
	}
}

// rules are those of `ip filter` as the disk's iptables has them: FORWARD's first.
func (d *dockerGuest) rules(t *testing.T) string {
	t.Helper()
	return d.command(t, "iptables", "-S", "FORWARD")
}

// ownRules are arcinit's, in the chains where they are.
func (d *dockerGuest) ownRules(t *testing.T) (own []string) {
	t.Helper()
	for line := range strings.Lines(d.command(t, "xtables-nft-multi", "iptables", "-S")) {
		if strings.Contains(line, " eth1 ") || strings.Contains(line, " 172.20.0.0/16 ") {
			own = append(own, line)
		}
	}
	if len(own) != 8 {
		t.Errorf("arcinit's rules are %q, want four in each of two chains", own)
	}
	return own
}

// testAgainBeside has uinit run beside the live engine and a container, of which
// it may change nothing.
func testAgainBeside(t *testing.T, d *dockerGuest) {
	// As a storage driver may have its directory.
	d.command(t, "busybox", "sh", "-ec", "mkdir /run/private; mount -t tmpfs private /run/private; mount --make-private /run/private")
	snapshot := func() map[string]string {
		s := map[string]string{
			"routes":               fmt.Sprintf("%+v", must[[]probe.Route](t, d.machine, "Routes", none{})),
			"links":                fmt.Sprintf("%+v", must[[]probe.Link](t, d.machine, "Links", none{})),
			"daemon.json":          d.read(t, "/etc/docker/daemon.json"),
			"mounts":               d.read(t, "/proc/self/mountinfo"),
			"mounts of the engine": d.read(t, fmt.Sprintf("/proc/%d/mountinfo", d.dockerd)),
		}
		for _, table := range []string{"raw", "nat", "filter"} {
			s[table] = d.command(t, "iptables", "-t", table, "-S")
		}
		if d.nftables {
			s["nftables"] = d.command(t, "nft", "--stateless", "list", "ruleset")
		}
		s["own rules"] = strings.Join(d.ownRules(t), "")
		return s
	}
	runAgain(t, d.machine, "uinit", snapshot)
	d.published(t)
	d.direct(t, "direct")

	const proxyARP = "/proc/sys/net/ipv4/conf/eth1/proxy_arp"
	d.command(t, "busybox", "sh", "-c", "echo 0 >"+proxyARP)
	if r := d.run(t, "uinit"); r.Code != 0 {
		t.Errorf("uinit ended with code %d: %s", r.Code, r.Stderr)
	}
	eventually(t, func() string {
		if got := d.read(t, proxyARP); got != "1\n" {
			return fmt.Sprintf("proxy_arp, which was set to 0, is %q", got)
		}
		return ""
	})
}

// testEngineRestart has dockerd end and start again.
func testEngineRestart(t *testing.T, d *dockerGuest) {
	before := d.ownRules(t)
	must[none](t, d.machine, "Kill", probe.Signal{PID: d.dockerd, Number: int(syscall.SIGTERM)})
	eventually(t, func() string {
		if !strings.Contains(d.get("dockerd.log"), "dockerd ended") {
			return "dockerd has not ended"
		}
		return ""
	})
	must[none](t, d.machine, "Remove", "/arcbox/dockerd.log") // it says that one has ended
	d.startEngine(t)
	d.docker(t, "start", "web")
	d.findWeb(t)
	if after := d.ownRules(t); !slices.Equal(after, before) {
		t.Errorf("arcinit's rules were %q, and are %q", before, after)
	}
	if rules := d.rules(t); !strings.HasPrefix(rules, "-P FORWARD ACCEPT\n") {
		t.Errorf("the rules are\n%s", rules)
	}
	d.published(t)
	d.direct(t, "restart")
}
