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

// engine is a container engine, and what differs in its tests.
type engine struct {
	// daemon holds the keys of [docker.daemon] that the engine needs.
	daemon string
	// nftables means that the engine writes its firewall with nftables.
	nftables bool
	// cannot lists the checks that must fail, as docs/docker.md explains.
	cannot []string
	// open is a command after which all checks hold, as docs/docker.md says.
	open []string
}

// otherTables lists the checks that fail where the engine does not use the tables
// that have arcinit's rules.
var otherTables = []string{
	"direct/unpublished", "direct/ping", "FORWARD DROP/unpublished", "FORWARD DROP/ping",
	"restart/unpublished", "restart/ping",
}

// engines lists the engines that scripts/docker.sh makes disks of. A name is a version
// and the program that writes the engine's firewall.
var engines = map[string]engine{
	"28.5-nft": {daemon: "allow-direct-routing = true"},
	"28.5-legacy": {
		daemon: "allow-direct-routing = true",
		cannot: otherTables,
		open:   strings.Fields("iptables -I DOCKER-USER -i eth1 -j ACCEPT"),
	},
	"29-nftables": {
		daemon:   "allow-direct-routing = true\nfirewall-backend = 'nftables'\nbridge-accept-fwmark = '1'",
		nftables: true,
		cannot:   otherTables,
		open:     strings.Fields("iptables -t mangle -A PREROUTING -i eth1 -j MARK --set-mark 1"),
	},
	"26.1-nft":  {},
	"20.10-nft": {},
}

// TestDocker runs containers with containerd and dockerd of a disk. ENGINES names the
// engines.
func TestDocker(t *testing.T) {
	names := strings.Fields(os.Getenv("ENGINES"))
	if len(names) == 0 {
		t.Skip("ENGINES names no engine; engines come from releases of Debian")
	}
	for _, name := range names {
		disk, diskless := strings.CutSuffix(name, "-diskless")
		e, ok := engines[disk]
		if !ok {
			t.Fatalf("ENGINES=%s is not a known engine", name)
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

// testEngine boots the image, with what every guest has, and tests its engine. The
// programs are on the image's disk, or those of the disk onShare, copied to a share.
func testEngine(t *testing.T, e engine, im image, onShare string) {
	nics, peers := dhcpPeers(t, time.Hour)
	// A network with a small MTU, that says so in the lease and else drops what is too large without a word.
	peers[0].Lease(leaseOf(primaryAddress, time.Hour, withMTU(1400)))
	peers[0].Narrow(1400)
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
	m.putImage(t)
	comesUp(t, m)
	if onShare != "" {
		d.useShare(t, onShare)
	}
	address(t, m, "eth0", primaryAddress)
	address(t, m, "eth1", bridgeAddress)
	// The bridge's peer expects the addresses of all containers on its own link.
	if err := d.bridge.Route(netip.MustParsePrefix("172.17.0.0/16")); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	must[int](t, m, "Start", probe.Daemon{Argv: []string{"containerd"}, Log: "/arcbox/containerd.log"})
	d.startEngine(t)
	t.Logf("the engine answers after %v: %s", time.Since(begin),
		d.docker(t, "info", "-f", "{{.ServerVersion}}, storage {{.Driver}}, cgroup v{{.CgroupVersion}} by {{.CgroupDriver}}"))
	d.docker(t, "import", "/arcbox/image.tar", "busybox")

	// Single containers. These subtests are not parallel: a test that waits for
	// parallel subtests does not count as running, so all engines' guests would run
	// at once.
	t.Run("containers", func(t *testing.T) {
		for name, test := range map[string]func(*testing.T, *dockerGuest){
			"container": testContainer, "memory": testMemoryLimit, "cpu": testCPULimit, "pids": testPIDsLimit,
			"rshared": testSharedVolume,
		} {
			t.Run(name, func(t *testing.T) { test(t, d) })
		}
	})
	// A container that keeps running.
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

// useShare copies a disk's files to the share private, and from there to the root,
// which is the initramfs. Programs on the share itself would be read again at each
// start (virtiofsd's cache=auto), which takes minutes.
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

// startEngine starts dockerd and waits until it answers: half a minute on a machine
// that does nothing else.
func (d *dockerGuest) startEngine(t *testing.T) {
	t.Helper()
	d.dockerd = must[int](t, d.machine, "Start", probe.Daemon{
		Argv: []string{"dockerd", "--containerd=/run/containerd/containerd.sock"}, Log: "/arcbox/dockerd.log",
	})
	eventuallyWithin(t, 4*time.Minute, func() string {
		if strings.Contains(d.get("dockerd.log"), "dockerd ended") {
			t.Fatal("dockerd has ended")
		}
		return d.answers(t)
	})
}

// answers returns a complaint until dockerd answers.
func (d *dockerGuest) answers(t *testing.T) (complaint string) {
	t.Helper()
	if r := d.run(t, "docker", "version"); r.Code != 0 {
		return "dockerd does not answer: " + r.Stderr
	}
	return ""
}

// putImage puts the image busybox on the share, as image.tar.
func (m *machine) putImage(t *testing.T) {
	t.Helper()
	if err := busybox.WriteImage(filepath.Join(m.dirs["arcbox"], "image.tar"), built(t, "swapin/usr/bin/busybox")); err != nil {
		t.Fatal(err)
	}
}

// docker runs a command of the engine's client, and returns its output.
func (d *dockerGuest) docker(t *testing.T, args ...string) string {
	t.Helper()
	return d.command(t, append([]string{"docker"}, args...)...)
}

// command runs a program of the disk, which must succeed, and returns its output.
func (d *dockerGuest) command(t *testing.T, argv ...string) string {
	t.Helper()
	r := d.run(t, argv...)
	if r.Code != 0 {
		t.Fatalf("%q ended with code %d: %s%s", argv, r.Code, r.Stdout, r.Stderr)
	}
	return r.Stdout
}

// shell runs a line of shell in a new container.
func (d *dockerGuest) shell(t *testing.T, line string, options ...string) probe.Result {
	t.Helper()
	argv := append([]string{"docker", "run", "--rm"}, options...)
	return d.run(t, append(argv, "busybox", "sh", "-c", line)...)
}

// testContainer checks the surroundings of a container with a terminal.
func testContainer(t *testing.T, d *dockerGuest) {
	const next = "next"
	looks := []struct {
		name, line string
		want       []string // the beginning of each line of output
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

// testMemoryLimit runs containers that use less memory than their limit, and more.
func testMemoryLimit(t *testing.T, d *dockerGuest) {
	const killed = 128 + int(syscall.SIGKILL)
	for size, want := range map[string]int{"16M": 0, "128M": killed} {
		// dd holds a whole block in memory.
		if r := d.shell(t, "exec dd if=/dev/zero of=/dev/null count=1 bs="+size, "--memory=64m"); r.Code != want {
			t.Errorf("%s of memory, limit 64 MiB: code %d, want %d: %s", size, r.Code, want, r.Stderr)
		}
	}
}

// testCPULimit runs a container that would use a whole processor.
func testCPULimit(t *testing.T, d *dockerGuest) {
	// The time is read before the first use and after the last: a pause between two
	// reads can only lower the share.
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
	if share > 0.3 || throttled == 0 {
		t.Errorf("limited to 0.2 processors it used %.2f, and was throttled %.0f times", share, throttled)
	}
}

// testPIDsLimit runs a container that starts more processes than its limit.
func testPIDsLimit(t *testing.T, d *dockerGuest) {
	r := d.shell(t, "i=0; while [ $i -lt 100 ]; do sleep 100 & i=$((i+1)); echo $i; done", "--pids-limit=16")
	if n := strings.Count(r.Stdout, "\n"); r.Code == 0 || n < 8 || n > 15 || !strings.Contains(r.Stderr, "can't fork") {
		t.Errorf("limited to 16 processes it started %d, code %d: %s", n, r.Code, r.Stderr)
	}
}

// testSharedVolume checks that mounts appear on both sides of a volume.
func testSharedVolume(t *testing.T, d *dockerGuest) {
	must[none](t, d.machine, "Mount", probe.MountRequest{Source: "volume", Target: "/mnt", FSType: "tmpfs"})
	d.docker(t, "run", "-d", "--name=shared", "--cap-add=SYS_ADMIN", "-v", "/mnt:/mnt:rshared", "busybox",
		"sh", "-c", "mkdir /mnt/in && mount -t tmpfs inside /mnt/in && exec sleep 1000")
	eventually(t, func() string {
		if m := mount(must[[]probe.Mount](t, d.machine, "Mounts", none{}), "/mnt/in"); m == nil || m.Source != "inside" {
			return fmt.Sprintf("the container's mount does not appear outside: %+v", m)
		}
		return ""
	})
	must[none](t, d.machine, "Mount", probe.MountRequest{Source: "outside", Target: "/mnt/out", FSType: "tmpfs"})
	if r := d.run(t, "docker", "exec", "shared", "grep", "^outside /mnt/out ", "/proc/mounts"); r.Code != 0 {
		t.Errorf("a mount from outside does not appear in the container: %s", r.Stderr)
	}
	d.docker(t, "rm", "-f", "shared")
}

// startWeb starts a container that serves a directory of the host over HTTP on a
// published port, and echoes lines on a port that is not published.
func (d *dockerGuest) startWeb(t *testing.T) {
	t.Helper()
	d.put("users", "site/index.html", "first\n")
	// The first process of a container ignores SIGTERM, so docker would wait for it.
	d.docker(t, "run", "-d", "--name=web", "--stop-signal=KILL", "-p", "8080:80", "-v", "/Users/site:/www:ro", "busybox",
		"sh", "-c", "nc -ll -p 7 -e cat & exec httpd -f -p 80 -h /www")
	d.findWeb(t)
}

// findWeb finds the container's address and waits until the guest can connect to it.
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

// fetch gets the page at an address, from a host.
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

// served checks the page that a host gets at an address.
func served(t *testing.T, from *dhcppeer.Host, to netip.AddrPort, want string) error {
	page, err := fetch(t, from, to)
	if err == nil && page != want {
		err = fmt.Errorf("%s serves %q, want %q", to, page, want)
	}
	return err
}

// published checks that the published port answers on the primary NIC.
func (d *dockerGuest) published(t *testing.T) {
	t.Helper()
	eventually(t, func() string {
		if err := served(t, &d.primary.Host, netip.AddrPortFrom(leased[0], 8080), "first\n"); err != nil {
			return err.Error()
		}
		return ""
	})
}

// direct checks that the container's own address answers on the bridge NIC. Only proxy
// ARP tells the bridge where that address is.
func (d *dockerGuest) direct(t *testing.T, name string) {
	t.Helper()
	host := &d.bridge.Host
	d.holds(t, name+"/published", func() error { return served(t, host, netip.AddrPortFrom(d.web, 80), "first\n") })
	d.holds(t, name+"/unpublished", func() error { return talked(t, host, netip.AddrPortFrom(d.web, 7), 5*time.Second) })
	d.holds(t, name+"/ping", func() error { return pinged(t, host, d.web) })
}

// holds expects a check to succeed, or to fail where d.cannot lists it.
func (d *dockerGuest) holds(t *testing.T, name string, check func() error) {
	t.Helper()
	if slices.Contains(d.cannot, name) {
		if err := check(); err == nil {
			t.Errorf("%s holds, but docs/docker.md says that it cannot", name)
		}
		return
	}
	eventually(t, func() string {
		if err := check(); err != nil {
			return fmt.Sprintf("%s: %v", name, err)
		}
		return ""
	})
}

// testOutbound connects from the container to a host beyond the primary NIC's gateway.
// The host answers with the source address.
func testOutbound(t *testing.T, d *dockerGuest) {
	host, err := d.primary.Beyond(beyondPrimary)
	if err != nil {
		t.Fatal(err)
	}
	answerLines(t, host, func(from net.Addr, _ string) string { return from.String() + "\n" })
	r := d.run(t, "docker", "exec", "web", "sh", "-c", "echo hello | nc -w 10 "+beyondPrimary.String()+" 7")
	if from, err := netip.ParseAddrPort(strings.TrimSpace(r.Stdout)); r.Code != 0 || err != nil || from.Addr() != leased[0] {
		t.Errorf("code %d, the connection came from %q, want %s: %s", r.Code, r.Stdout, leased[0], r.Stderr)
	}
	// Docker's network has an MTU of 1500 by default.
	host, err = d.primary.Beyond(beyondPrimary.Next())
	if err != nil {
		t.Fatal(err)
	}
	answerLines(t, host, func(net.Addr, string) string { return long + "\n" })
	r = d.run(t, "docker", "exec", "web", "sh", "-c", "echo hello | nc -w 10 "+host.Addr().String()+" 7")
	if r.Stdout != long+"\n" {
		t.Errorf("over an MTU of 1400 the container heard %d bytes of %d, code %d: %s", len(r.Stdout), len(long)+1, r.Code, r.Stderr)
	}
}

// testBindMount checks that the container sees a file of the host change.
func testBindMount(t *testing.T, d *dockerGuest) {
	to := netip.AddrPortFrom(d.web, 80)
	for _, text := range []string{"second\n", "third, and longer\n", "first\n"} {
		d.put("users", "site/index.html", text)
		// The guest caches the file for a second (virtiofsd's cache=auto).
		eventually(t, func() string {
			if err := served(t, &d.bridge.Host, to, text); err != nil {
				return err.Error()
			}
			return ""
		})
	}
}

// rules returns the rules of FORWARD as the disk's iptables prints them.
func (d *dockerGuest) rules(t *testing.T) string {
	t.Helper()
	return d.command(t, "iptables", "-S", "FORWARD")
}

// ownRules returns arcinit's rules.
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

// testAgainBeside runs uinit beside the live engine and a container. It must change
// nothing, and restore what somebody changed.
func testAgainBeside(t *testing.T, d *dockerGuest) {
	// A storage driver may make its directory private.
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

// testEngineRestart ends dockerd and starts it again.
func testEngineRestart(t *testing.T, d *dockerGuest) {
	before := d.ownRules(t)
	must[none](t, d.machine, "Kill", probe.Signal{PID: d.dockerd, Number: int(syscall.SIGTERM)})
	eventually(t, func() string {
		if !strings.Contains(d.get("dockerd.log"), "dockerd ended") {
			return "dockerd has not ended"
		}
		return ""
	})
	must[none](t, d.machine, "Remove", "/arcbox/dockerd.log") // startEngine looks for the end in it
	d.startEngine(t)
	d.docker(t, "start", "web")
	d.findWeb(t)
	if after := d.ownRules(t); !slices.Equal(after, before) {
		t.Errorf("arcinit's rules changed from %q to %q", before, after)
	}
	if rules := d.rules(t); !strings.HasPrefix(rules, "-P FORWARD ACCEPT\n") {
		t.Errorf("the rules are\n%s", rules)
	}
	d.published(t)
	d.direct(t, "restart")
}

// TestDockerDisk has Docker's data on a disk of its own, which keeps an image over two boots and is larger at the second.
func TestDockerDisk(t *testing.T) {
	t.Parallel()
	if !slices.Contains(strings.Fields(os.Getenv("ENGINES")), "28.5-nft") {
		t.Skip("ENGINES does not name 28.5-nft")
	}
	data := empty(t, 1<<10)
	command(t, "", "mke2fs", "-q", "-t", "ext4", "-L", "docker", data)
	im := image{
		disks:   []guest.Disk{{File: built(t, "docker/28.5-nft.erofs")}, {File: data, Writable: true}},
		cmdline: []string{"root=/dev/vda", "ro", "rootfstype=erofs"}, nics: bothNICs(), cpus: 2, memory: 1024, timeout: 8 * time.Minute,
		shared: map[string]string{"etc/arcinit.toml": `
[docker]
container_network = "10.200.0.0/16"
[[disk]]
device = "LABEL=docker"
grow = true
[disk.directories]
"/var/lib/docker" = "docker"
"/var/lib/containerd" = "containerd"
[[service]]
name = "containerd"
argv = ["/usr/bin/containerd"]
[[service]]
name = "dockerd"
argv = ["/usr/sbin/dockerd", "--containerd=/run/containerd/containerd.sock"]
after = ["containerd"]
`}}
	for _, round := range []string{"first", "second"} {
		m := boot(t, im)
		m.putImage(t)
		comesUp(t, m)
		d := &dockerGuest{machine: m}
		eventuallyWithin(t, 4*time.Minute, func() string { return d.answers(t) })
		st := m.stat(t, "/var/lib/docker")
		if round == "first" {
			d.docker(t, "import", "/arcbox/image.tar", "busybox")
		} else if st.Bytes < 19<<26 { // 1.2 GiB
			t.Errorf("the disk has %d bytes after it was made 1 GiB larger", st.Bytes)
		}
		// The container's address is of the configured network.
		if got := d.docker(t, "run", "--rm", "busybox", "sh", "-c", "ip -4 -o address show eth0; echo hello"); !hasAll(got, " 10.200.0.", "hello\n") {
			t.Errorf("the container printed %q", got)
		}
		testPowerOff(t, m)
		testClean(t, data)
		if round == "first" {
			grown(t, data, 2<<10)
		}
	}
	if n := used(t, data); n > 512<<20 {
		t.Errorf("the disk takes %d MiB on the host", n>>20)
	}
}
