//go:build vmtest

package vmtests

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/arcinit/arcinit/pkg/arcsetup/netd"
	"github.com/arcinit/arcinit/vmtests/dhcppeer"
	"github.com/arcinit/arcinit/vmtests/guest"
	"github.com/arcinit/arcinit/vmtests/probe"
	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/rfc1035label"
)

// scope is what a DHCP server of the tests leases: addresses of 10.9.0.0/24.
type scope struct {
	nic         string // the server's
	first, last string // the pool; without it the server has no address to lease
	reserved    string // the address of the client's MAC address, if any
	lease       int    // seconds
	t1, t2      int    // seconds, for servers that send them
	// options are further ones, if any.
	options *further
}

// further are the options 26, 121, 15 and 119: a default route by way of the server, another route, and names.
type further struct {
	mtu                        int
	route, via, domain, search string
	// fill is the number of bytes in each of five more options, which come first.
	fill int
}

// fillers are codes of options for private use (RFC 3942).
var fillers = []int{224, 225, 226, 227, 228}

func (o further) filler() string { return strings.Repeat("x", o.fill) }

// routes and names return what is in the options 121 and 119, for servers that only take bytes.
func (o further) routes() []byte {
	return dhcpv4.Routes{route("0.0.0.0/0", "10.9.0.1"), route(o.route, o.via)}.ToBytes()
}

func (o further) names() []byte {
	return dhcpv4.OptDomainSearch(&rfc1035label.Labels{Labels: []string{o.domain, o.search}}).Value.ToBytes()
}

// dhcpServer is a DHCP server on the disk that scripts/dhcp-servers.sh makes.
type dhcpServer struct {
	name, pkg string
	// full servers run with FULL=1 only.
	full bool
	// lease is the shortest lease that fits the test, in seconds.
	lease int
	// argv runs the server in the foreground; DIR is its own directory and NIC its NIC.
	argv []string
	// leases is its lease file; files are its configuration, by file name in DIR or by path.
	leases string
	files  func(scope) map[string]string
	// cannot says by case what the server does not do.
	cannot map[string]string
}

// serverCases are the columns of the table in docs/dhcp.md.
var serverCases = []string{"empty pool", "ping first", "lease", "new reservation", "options", "overload", "T1", "restart", "T2", "lost leases", "two servers"}

var dhcpServers = []dhcpServer{
	{
		name: "dnsmasq", pkg: "dnsmasq-base",
		lease: 120, // its minimum
		argv:  []string{"/usr/sbin/dnsmasq", "--keep-in-foreground", "--log-facility=-", "--conf-file=DIR/conf", "--pid-file=DIR/pid"}, leases: "DIR/leases",
		files: func(s scope) map[string]string {
			conf := []string{"user=root", "group=root", "port=0", "interface=" + s.nic, "bind-interfaces", "dhcp-leasefile=DIR/leases", "dhcp-authoritative", "log-dhcp",
				"dhcp-option=3,10.9.0.1", "dhcp-option=6,10.9.0.1", fmt.Sprintf("dhcp-option-force=58,%ds", s.t1), fmt.Sprintf("dhcp-option-force=59,%ds", s.t2)}
			pool := "10.9.0.0,static"
			if s.first != "" {
				pool = s.first + "," + s.last
			}
			conf = append(conf, fmt.Sprintf("dhcp-range=%s,255.255.255.0,%d", pool, s.lease))
			if s.reserved != "" {
				conf = append(conf, "dhcp-host="+macs[0]+","+s.reserved)
			}
			if o := s.options; o != nil {
				conf = append(conf, fmt.Sprintf("dhcp-option=26,%d", o.mtu), "dhcp-option=121,0.0.0.0/0,10.9.0.1,"+o.route+","+o.via,
					"dhcp-option=15,"+o.domain, "dhcp-option=119,"+o.domain+","+o.search)
				if o.fill > 0 {
					for _, code := range fillers { // dnsmasq sends the last line's option first
						conf = append(conf, fmt.Sprintf("dhcp-option-force=%d,%q", code, o.filler()))
					}
				}
			}
			return map[string]string{"conf": lines(conf)}
		},
	},
	{
		name: "Kea", pkg: "kea-dhcp4-server",
		lease: 120,
		argv:  []string{"/usr/sbin/kea-dhcp4", "-c", "DIR/conf"}, leases: "DIR/leases",
		files: func(s scope) map[string]string {
			type object = map[string]any
			data := []object{{"name": "routers", "data": "10.9.0.1"}, {"name": "domain-name-servers", "data": "10.9.0.1"}}
			if o := s.options; o != nil {
				data = append(data, object{"name": "interface-mtu", "data": strconv.Itoa(o.mtu)},
					object{"name": "domain-name", "data": o.domain}, object{"name": "domain-search", "data": o.domain + ", " + o.search},
					object{"code": 121, "csv-format": false, "data": hex.EncodeToString(o.routes())})
			}
			subnet := object{"id": 1, "subnet": "10.9.0.0/24", "interface": s.nic, "option-data": data}
			if s.first != "" {
				subnet["pools"] = []object{{"pool": s.first + " - " + s.last}}
			}
			if s.reserved != "" {
				subnet["reservations"] = []object{{"hw-address": macs[0], "ip-address": s.reserved}}
			}
			conf, _ := json.Marshal(object{"Dhcp4": object{
				"interfaces-config": object{"interfaces": []string{s.nic}, "dhcp-socket-type": "raw"},
				"lease-database":    object{"type": "memfile", "persist": true, "name": "DIR/leases", "lfc-interval": 0},
				"loggers":           []object{{"name": "kea-dhcp4", "severity": "INFO", "output_options": []object{{"output": "stdout"}}}},
				"authoritative":     true,
				"valid-lifetime":    s.lease, "renew-timer": s.t1, "rebind-timer": s.t2,
				"subnet4": []object{subnet},
			}})
			return map[string]string{"conf": string(conf)}
		},
		cannot: map[string]string{"ping first": "no ping", "overload": "no option 52"},
	},
	{
		name: "ISC dhcpd", pkg: "isc-dhcp-server", full: true,
		lease: 120,
		argv:  []string{"/usr/sbin/dhcpd", "-4", "-d", "-f", "-cf", "DIR/conf", "-lf", "DIR/leases", "-pf", "DIR/pid", "NIC"}, leases: "DIR/leases",
		files: func(s scope) map[string]string {
			subnet := []string{"option routers 10.9.0.1;", "option domain-name-servers 10.9.0.1;"}
			if s.first != "" {
				subnet = append(subnet, "range "+s.first+" "+s.last+";")
			}
			// dhcpd otherwise does not write down an early renewal.
			conf := []string{"authoritative;", "ping-check true;", "dhcp-cache-threshold 0;", "option routes code 121 = string;",
				fmt.Sprintf("default-lease-time %d;\nmin-lease-time %[1]d;\nmax-lease-time %[1]d;", s.lease),
				fmt.Sprintf("option dhcp-renewal-time %d;\noption dhcp-rebinding-time %d;", s.t1, s.t2)}
			if o := s.options; o != nil {
				conf = append(conf, fmt.Sprintf("option interface-mtu %d;", o.mtu), "option routes "+strings.ReplaceAll(fmt.Sprintf("% x", o.routes()), " ", ":")+";",
					fmt.Sprintf("option domain-name %q;", o.domain), fmt.Sprintf("option domain-search %q, %q;", o.domain, o.search))
				if o.fill > 0 {
					for _, code := range fillers {
						conf = append(conf, fmt.Sprintf("option fill%d code %[1]d = text;\noption fill%[1]d %q;", code, o.filler()))
					}
					conf = append(conf, "option dhcp-parameter-request-list = concat(e0:e1:e2:e3:e4, option dhcp-parameter-request-list);")
				}
			}
			conf = append(conf, "subnet 10.9.0.0 netmask 255.255.255.0 {\n"+lines(subnet)+"}")
			if s.reserved != "" {
				conf = append(conf, "host client { hardware ethernet "+macs[0]+"; fixed-address "+s.reserved+"; }")
			}
			return map[string]string{"conf": lines(conf)}
		},
	},
	{
		name: "udhcpd", pkg: "busybox", full: true,
		lease: 120,
		argv:  []string{"/bin/busybox", "udhcpd", "-f", "DIR/conf"}, leases: "DIR/leases",
		files: func(s scope) map[string]string {
			if s.first == "" {
				s.first, s.last = "10.9.0.1", "10.9.0.1" // its own address, which it does not lease
			}
			conf := []string{"interface " + s.nic, "start " + s.first, "end " + s.last, "lease_file DIR/leases", "pidfile DIR/pid",
				"option subnet 255.255.255.0", "option router 10.9.0.1", "option dns 10.9.0.1", fmt.Sprintf("option lease %d", s.lease),
				fmt.Sprintf("option 58 %08x", s.t1), fmt.Sprintf("option 59 %08x", s.t2)}
			if s.reserved != "" {
				conf = append(conf, "static_lease "+macs[0]+" "+s.reserved)
			}
			if o := s.options; o != nil {
				conf = append(conf, fmt.Sprintf("option mtu %d", o.mtu), "option staticroutes 0.0.0.0/0 10.9.0.1, "+o.route+" "+o.via,
					"option domain "+o.domain, "option search "+o.domain+" "+o.search)
			}
			return map[string]string{"conf": lines(conf)}
		},
		cannot: map[string]string{"overload": "no option 52", "lost leases": "no renewal"},
	},
	{
		name: "systemd-networkd", pkg: "systemd", full: true,
		lease: 120,
		argv:  []string{"/lib/systemd/systemd-networkd"},
		files: func(s scope) map[string]string {
			offset, size := 1, 1 // its own address, which it does not lease
			if s.first != "" {
				first, last := netip.MustParseAddr(s.first).As4(), netip.MustParseAddr(s.last).As4()
				offset, size = int(first[3]), int(last[3])-int(first[3])+1
			}
			// The NIC has the address already, with no broadcast address. Without Broadcast=no, networkd 252 sets the address in an endless loop.
			conf := []string{"[Match]", "Name=" + s.nic, "[Network]", "DHCPServer=yes", "LinkLocalAddressing=no", "IPv6AcceptRA=no",
				"[Address]", "Address=SERVER/24", "Broadcast=no", "[DHCPServer]",
				fmt.Sprintf("PoolOffset=%d\nPoolSize=%d", offset, size), fmt.Sprintf("DefaultLeaseTimeSec=%d\nMaxLeaseTimeSec=%[1]d", s.lease),
				"DNS=10.9.0.1", "Router=10.9.0.1", fmt.Sprintf("SendOption=58:uint32:%d\nSendOption=59:uint32:%d", s.t1, s.t2)}
			if o := s.options; o != nil {
				conf = append(conf, fmt.Sprintf("SendOption=26:uint16:%d", o.mtu), "SendOption=15:string:"+o.domain,
					"SendOption=121:string:"+escaped(o.routes()), "SendOption=119:string:"+escaped(o.names()))
			}
			if s.reserved != "" {
				conf = append(conf, "[DHCPServerStaticLease]", "MACAddress="+macs[0], "Address="+s.reserved)
			}
			return map[string]string{"/etc/systemd/network/" + s.nic + ".network": lines(conf)}
		},
		cannot: map[string]string{"ping first": "no ping", "overload": "no option 52", "lost leases": "no lease file"},
	},
}

// escaped writes bytes as C does in a string.
func escaped(b []byte) (s string) {
	for _, c := range b {
		s += fmt.Sprintf(`\x%02x`, c)
	}
	return s
}

func lines(l []string) string { return strings.Join(l, "\n") + "\n" }

// serverLAN is a guest whose NICs are on one network: eth0 is the client's, the others
// are servers' in network namespaces of their names.
type serverLAN struct {
	*machine
	capture
	server dhcpServer
}

// serverRoot is where the guest has the servers' disk. It can write there.
const serverRoot = "/run/servers"

func bootServers(t *testing.T, s dhcpServer) *serverLAN {
	t.Helper()
	nic := guest.NIC{Netdev: "hubport,hubid=0"}
	frames := newCapture(t, 0)
	m := boot(t, image{
		nics: []guest.NIC{nic, nic, nic}, tools: true, memory: 768, timeout: 5 * time.Minute, qemu: frames.qemu(),
		disks:    []guest.Disk{{File: built(t, "dhcp-servers.erofs")}},
		programs: map[string]string{"arcbox/busybox": built(t, "swapin/usr/bin/busybox")},
		cmdline:  []string{quiet, "arcbox.primary=" + macs[0], "arcbox.bridge=52:54:00:00:00:99"},
	})
	m.shell(t, `mkdir -p DIR && mount -t tmpfs servers DIR && cd DIR && mkdir disk up work root && mount -t erofs -o ro /dev/vda disk &&
		mount -t overlay -o lowerdir=disk,upperdir=up,workdir=work servers root && cd root && mount -t proc proc proc && mount --bind /dev dev &&
		mkdir -p var/lib && ln -s ../run var/run && echo root:x:0: >etc/group && echo systemd-network:x:998: >>etc/group &&
		echo root:x:0:0::/:/bin/sh >etc/passwd && echo systemd-network:x:998:998::/: >>etc/passwd`)
	l := &serverLAN{m, frames, s}
	for i, nic := range []string{"eth1", "eth2"} {
		m.ipBatch(t, "", "netns add "+nic+"\nlink set "+nic+" netns "+nic+"\n")
		m.ipBatch(t, nic, fmt.Sprintf("link set lo up\naddress add 10.9.0.%d/24 dev %s\nlink set %[2]s up\n", i+1, nic))
	}
	return l
}

// shell runs a script by the guest's busybox. DIR is the directory of the servers' disk.
func (m *machine) shell(t *testing.T, script string) {
	t.Helper()
	if r := m.run(t, "/arcbox/busybox", "sh", "-c", strings.ReplaceAll(script, "DIR", serverRoot)); r.Code != 0 {
		t.Fatalf("%s\nended with code %d: %s%s", script, r.Code, r.Stdout, r.Stderr)
	}
}

// running is a server that runs.
type running struct {
	l         *serverLAN
	pid       int
	log, own  string
	nic, addr string
}

// start starts the server with a scope, with the lease file of before if there is one, and waits until it listens.
func (l *serverLAN) start(t *testing.T, s scope, address string) *running {
	t.Helper()
	r := &running{l: l, nic: s.nic, addr: address, own: "/var/lib/" + s.nic, log: "/run/" + s.nic + ".log"}
	set := strings.NewReplacer("DIR", r.own, "NIC", s.nic, "SERVER", address)
	l.shell(t, "mkdir -p DIR/root"+r.own+" DIR/root/etc/systemd/network && touch DIR/root"+r.own+"/leases")
	for path, text := range l.server.files(s) {
		if !strings.HasPrefix(path, "/") {
			path = r.own + "/" + path
		}
		l.write(t, serverRoot+"/root"+path, set.Replace(text))
	}
	// Each server has a /run of its own. networkd believes that a system without a writable /sys has no udev.
	script := strings.ReplaceAll(`PATH=; b=/arcbox/busybox; $b mount -t sysfs -o ro sysfs DIR/sys && $b mount -t tmpfs run DIR/run &&
		$b mkdir -p DIR/run/lock DIR/run/kea DIR/run/systemd/netif && $b chown -R 998:998 DIR/run/systemd && exec $b chroot DIR`, "DIR", serverRoot+"/root")
	for _, a := range l.server.argv {
		script += " " + set.Replace(a)
	}
	r.pid = must[int](t, l.machine, "Start", probe.Daemon{Argv: append(ip, "netns", "exec", s.nic, "/arcbox/busybox", "sh", "-c", script), Log: r.log})
	eventually(t, func() string {
		// The process's own view of its network namespace (proc_pid_net(5)); port 67 is 0043.
		sockets, err := ask[[]byte](l.machine, "ReadFile", fmt.Sprintf("/proc/%d/net/udp", r.pid))
		if err != nil {
			t.Fatalf("%s has ended: %v", l.server.name, err)
		}
		if !bytes.Contains(sockets, []byte(":0043 ")) {
			return fmt.Sprintf("%s does not listen:\n%s", l.server.name, sockets)
		}
		return ""
	})
	return r
}

// stop ends the server and waits until it has ended.
func (r *running) stop(t *testing.T) {
	t.Helper()
	must[none](t, r.l.machine, "Kill", probe.Signal{PID: r.pid, Number: int(syscall.SIGTERM)})
	eventually(t, func() string {
		if len(must[[]string](t, r.l.machine, "Glob", fmt.Sprintf("/proc/%d", r.pid))) > 0 {
			return r.l.server.name + " does not end"
		}
		return ""
	})
}

// leaseFile returns what the server has in its lease file.
func (r *running) leaseFile(t *testing.T) string {
	t.Helper()
	return r.l.read(t, serverRoot+"/root"+strings.ReplaceAll(r.l.server.leases, "DIR", r.own))
}

// is matches messages of a type, sent those of a client's state.
func is(kind dhcpv4.MessageType) func(dhcppeer.Message) bool {
	return func(m dhcppeer.Message) bool { return m.MessageType() == kind }
}

func sent(kind dhcppeer.Kind) func(dhcppeer.Message) bool {
	return func(m dhcppeer.Message) bool { return m.Kind == kind }
}

// dhcp returns the DHCP messages after the first skip frames.
func (l *serverLAN) dhcp(t *testing.T, skip int) (all []dhcppeer.Message) {
	t.Helper()
	for _, f := range l.frames(t)[skip:] {
		m, err := dhcppeer.ReadMessage(f)
		if err != nil {
			t.Fatal(err)
		}
		if m != nil {
			all = append(all, *m)
		}
	}
	return all
}

// summary lists messages in a line.
func summary(all []dhcppeer.Message) (s string) {
	for _, f := range all {
		s += fmt.Sprintf("%s %s>%s ci %s yi %s; ", f.MessageType(), f.From, f.To, f.ClientIPAddr, f.YourIPAddr)
	}
	return s
}

// sees waits for n messages after the first skip frames, and returns the last of them.
func (l *serverLAN) sees(t *testing.T, skip, n int, what string, match func(dhcppeer.Message) bool) (last dhcppeer.Message) {
	t.Helper()
	eventually(t, func() string {
		seen := 0
		all := l.dhcp(t, skip)
		for _, f := range all {
			if match(f) {
				if seen, last = seen+1, f; seen == n {
					return ""
				}
			}
		}
		return fmt.Sprintf("seen %d of %d: %s; the frames are %s", seen, n, what, summary(all))
	})
	return last
}

// bound waits until eth0 has one address, the report and the kernel agree on it, and it
// satisfies want.
func (l *serverLAN) bound(t *testing.T, want func(netip.Addr) bool) (n netd.NIC) {
	t.Helper()
	eventually(t, func() string {
		n = network(t, l.machine)["eth0"]
		k := link(must[[]probe.Link](t, l.machine, "Links", none{}), "eth0")
		if n.State != netd.StateBound || len(n.Addresses) != 1 || !slices.Equal(k.Addresses, []string{n.Addresses[0].String()}) || !want(n.Addresses[0].Addr()) {
			return fmt.Sprintf("net.json has %+v, the kernel %+v", n, k)
		}
		return ""
	})
	return n
}

// flap pulls the client's cable out and plugs it in again, so that the client asks the servers
// whether its lease is still good.
func (l *serverLAN) flap(t *testing.T) (skip int) {
	t.Helper()
	l.plug(t, 0, false)
	state(t, l.machine, "eth0", netd.StateNoCarrier)
	skip = len(l.frames(t))
	l.plug(t, 0, true)
	return skip
}

func exactly(a string) func(netip.Addr) bool {
	return func(b netip.Addr) bool { return b == netip.MustParseAddr(a) }
}

// TestDHCPServers has the guest lease from the DHCP servers that people run. They run in the
// guest, too, in network namespaces. docs/dhcp.md has the result.
func TestDHCPServers(t *testing.T) {
	t.Parallel()
	for _, s := range dhcpServers {
		if !s.full || os.Getenv("FULL") != "" {
			t.Run(s.name, func(t *testing.T) {
				t.Parallel()
				testDHCPServer(t, s)
			})
		}
	}
}

func testDHCPServer(t *testing.T, s dhcpServer) {
	l := bootServers(t, s)
	defer func() {
		if t.Failed() {
			for _, nic := range []string{"eth1", "eth2"} {
				if text, err := ask[[]byte](l.machine, "ReadFile", "/run/"+nic+".log"); err == nil {
					t.Logf("%s's log on %s:\n%s", s.name, nic, text)
				}
			}
			t.Logf("frames: %s", summary(l.dhcp(t, 0)))
		}
	}()
	holds := map[string]bool{} // by case
	does := func(name string, f func(t *testing.T)) {
		if s.cannot[name] == "" {
			holds[name] = t.Run(name, f)
		}
	}
	const server, moved = "10.9.0.1", "10.9.0.3"
	empty := scope{nic: "eth1", lease: s.lease, t1: 60, t2: 100}
	pool := empty
	pool.first, pool.last = "10.9.0.100", "10.9.0.199"
	inPool := func(a netip.Addr) bool {
		return !a.Less(netip.MustParseAddr(pool.first)) && !netip.MustParseAddr(pool.last).Less(a)
	}

	var r *running
	var leased netd.NIC
	does("empty pool", func(t *testing.T) {
		r = l.start(t, empty, server)
		skip := len(l.frames(t))
		l.sees(t, skip, 3, "DISCOVERs", is(dhcpv4.MessageTypeDiscover))
		if got := l.dhcp(t, 0); slices.ContainsFunc(got, is(dhcpv4.MessageTypeOffer)) {
			t.Errorf("the frames are %s", summary(got))
		}
		r.stop(t)
		r = l.start(t, pool, server)
		leased = l.bound(t, inPool)
	})
	if r == nil || !holds["empty pool"] {
		return
	}
	does("ping first", func(t *testing.T) {
		if !l.askedFor(t, leased.Addresses[0].Addr()) {
			t.Errorf("%s did not look for another host with %s before its OFFER", s.name, leased.Addresses[0])
		}
	})
	does("lease", func(t *testing.T) {
		if n := leased; n.Addresses[0].Bits() != 24 || n.Gateway.String() != server || n.Server.String() != server ||
			!slices.Equal(n.DNS, []netip.Addr{netip.MustParseAddr(server)}) || n.LeaseSeconds != int64(s.lease) {
			t.Errorf("net.json has %+v", n)
		}
		defaultRoutes(t, l.machine, probe.Route{Gateway: server, Link: "eth0"})
		if _, err := ask[none](l.machine, "Ping", probe.Endpoint{Namespace: "eth1", Address: leased.Addresses[0].Addr().String(), Timeout: 5 * time.Second}); err != nil {
			t.Error(err)
		}
	})
	reserved := pool
	reserved.reserved = "10.9.0.150"
	does("new reservation", func(t *testing.T) {
		r.stop(t)
		r = l.start(t, reserved, server)
		skip := l.flap(t)
		l.bound(t, exactly(reserved.reserved))
		if got := l.dhcp(t, skip); !slices.ContainsFunc(got, is(dhcpv4.MessageTypeNak)) {
			t.Errorf("no NAK: %s", summary(got))
		}
	})
	does("options", func(t *testing.T) {
		with := reserved
		with.options = &further{mtu: 1400, route: "172.18.0.0/16", via: "10.9.0.7", domain: "net.example", search: "example.org"}
		r.stop(t)
		r = l.start(t, with, server)
		l.flap(t)
		l.has(t, *with.options)
	})
	does("overload", func(t *testing.T) {
		with := reserved
		with.options = &further{mtu: 1300, route: "172.19.0.0/16", via: "10.9.0.8", domain: "full.example", search: "example.net", fill: 224}
		r.stop(t)
		r = l.start(t, with, server)
		ack := l.sees(t, l.flap(t), 1, "ACK with option 52", func(m dhcppeer.Message) bool {
			return m.MessageType() == dhcpv4.MessageTypeAck && m.Options.Has(dhcpv4.OptionOptionOverload)
		})
		// The parsed message has the options of the options field only.
		read := []dhcpv4.OptionCode{dhcpv4.OptionInterfaceMTU, dhcpv4.OptionClasslessStaticRoute, dhcpv4.OptionDomainName, dhcpv4.OptionDNSDomainSearchList}
		if !slices.ContainsFunc(read, func(c dhcpv4.OptionCode) bool { return !ack.Options.Has(c) }) {
			t.Errorf("nothing that the client reads is in file or sname: %s", ack.Summary())
		}
		l.has(t, *with.options)
	})
	short := reserved
	short.t1, short.t2, short.reserved = 5, 10, ""
	var mine netip.Addr
	does("T1", func(t *testing.T) {
		r.stop(t)
		r = l.start(t, short, server)
		l.sees(t, l.flap(t), 1, "ACK", is(dhcpv4.MessageTypeAck))
		mine = l.bound(t, inPool).Addresses[0].Addr()
		skip, before := len(l.frames(t)), ""
		if s.leases != "" {
			before = r.leaseFile(t)
		}
		f := l.sees(t, skip, 2, "REQUESTs, renewing", sent(dhcppeer.Renewing))
		if f.To.String() != server || f.From != mine {
			t.Errorf("the renewal goes from %s to %s", f.From, f.To)
		}
		l.sees(t, skip, 2, "ACKs", is(dhcpv4.MessageTypeAck))
		if s.leases != "" && s.pkg != "busybox" && r.leaseFile(t) == before {
			t.Errorf("the lease file is still %q", before)
		}
	})
	does("restart", func(t *testing.T) {
		r.stop(t)
		skip := len(l.frames(t))
		r = l.start(t, short, server)
		l.keeps(t, skip, mine, sent(dhcppeer.Renewing))
	})
	does("T2", func(t *testing.T) {
		// The server moves to other addresses, so that it only receives broadcasts: ISC dhcpd answers all that comes to its MAC address.
		r.stop(t)
		l.ipBatch(t, "eth1", "address flush dev eth1\nlink set eth1 down\nlink set eth1 address 52:54:00:00:00:a2\nlink set eth1 up\naddress add "+moved+"/24 dev eth1\n")
		skip := len(l.frames(t))
		r = l.start(t, short, moved)
		l.keeps(t, skip, mine, sent(dhcppeer.Rebinding))
		if n := l.bound(t, exactly(mine.String())); n.Server.String() != moved {
			t.Errorf("net.json has %+v", n)
		}
	})
	does("lost leases", func(t *testing.T) {
		r.stop(t)
		if s.leases != "" {
			l.shell(t, "rm DIR/root"+strings.ReplaceAll(s.leases, "DIR", r.own)+"*")
		}
		skip := len(l.frames(t))
		r = l.start(t, short, moved)
		l.sees(t, skip, 1, "ACK", is(dhcpv4.MessageTypeAck))
		l.bound(t, exactly(mine.String()))
	})
	does("two servers", func(t *testing.T) {
		r.stop(t)
		again := pool
		again.reserved = "10.9.0.151"
		r = l.start(t, again, moved)
		other := scope{nic: "eth2", first: "10.9.0.200", last: "10.9.0.209", lease: s.lease, t1: 60, t2: 100}
		l.start(t, other, "10.9.0.2")
		skip := l.flap(t)
		offers := func(from string) func(dhcppeer.Message) bool {
			return func(f dhcppeer.Message) bool {
				return f.MessageType() == dhcpv4.MessageTypeOffer && f.From.String() == from
			}
		}
		l.sees(t, skip, 1, "OFFER of the first server", offers(moved))
		l.sees(t, skip, 1, "OFFER of the second server", offers("10.9.0.2"))
		ack := l.sees(t, skip, 1, "ACK", is(dhcpv4.MessageTypeAck))
		l.bound(t, exactly(ack.YourIPAddr.String()))
		for _, f := range l.dhcp(t, skip) {
			if f.MessageType() == dhcpv4.MessageTypeAck && f.From != ack.From {
				t.Errorf("ACKs of both servers: %s", summary(l.dhcp(t, skip)))
			}
			if id := f.ServerIdentifier(); f.MessageType() == dhcpv4.MessageTypeRequest && id != nil && !id.Equal(net.IP(ack.From.AsSlice())) {
				t.Errorf("a REQUEST to %s, the ACK came from %s", id, ack.From)
			}
		}
	})
	checkDHCPPage(t, l, holds)
}

// has waits until the client uses options.
func (l *serverLAN) has(t *testing.T, o further) {
	t.Helper()
	eventually(t, func() string {
		n := network(t, l.machine)["eth0"]
		if n.MTU != o.mtu || n.Domain != o.domain || !slices.Equal(n.Search, []string{o.domain, o.search}) {
			return fmt.Sprintf("net.json has %+v", n)
		}
		if k := link(must[[]probe.Link](t, l.machine, "Links", none{}), "eth0"); k.MTU != o.mtu {
			return fmt.Sprintf("the kernel has %+v", k)
		}
		if routes := must[[]probe.Route](t, l.machine, "Routes", none{}); !slices.Contains(routes, probe.Route{Dst: o.route, Gateway: o.via, Link: "eth0"}) {
			return fmt.Sprintf("the kernel has the routes %+v", routes)
		}
		return ""
	})
	defaultRoutes(t, l.machine, probe.Route{Gateway: "10.9.0.1", Link: "eth0"})
}

// keeps waits for a REQUEST of a kind that is answered, and checks that the guest keeps its address.
func (l *serverLAN) keeps(t *testing.T, skip int, mine netip.Addr, kind func(dhcppeer.Message) bool) {
	t.Helper()
	f := l.sees(t, skip, 1, "REQUEST", kind)
	l.sees(t, skip, 1, "ACK", func(a dhcppeer.Message) bool {
		return a.MessageType() == dhcpv4.MessageTypeAck && a.TransactionID == f.TransactionID && a.YourIPAddr.Equal(net.IP(mine.AsSlice()))
	})
	l.bound(t, exactly(mine.String()))
	if got := l.dhcp(t, skip); slices.ContainsFunc(got, is(dhcpv4.MessageTypeNak)) {
		t.Errorf("a NAK: %s", summary(got))
	}
}

// askedFor reports whether somebody asked by ARP who has an address, before the first OFFER.
func (l *serverLAN) askedFor(t *testing.T, address netip.Addr) bool {
	t.Helper()
	for _, f := range l.frames(t) {
		if m, err := dhcppeer.ReadMessage(f); err == nil && m != nil && m.MessageType() == dhcpv4.MessageTypeOffer {
			return false
		}
		if operation, _, target := arp(f); operation == arpRequest && target == address {
			return true
		}
	}
	return false
}

// dhcpPage has the table of TestDHCPServers.
const dhcpPage = "../docs/dhcp.md"

// checkDHCPPage compares the server's line of docs/dhcp.md with the result. With UPDATE
// set in the environment it writes the line. It ignores the version, because distributions update their packages.
func checkDHCPPage(t *testing.T, l *serverLAN, holds map[string]bool) {
	t.Helper()
	if t.Failed() {
		return
	}
	version := regexp.MustCompile(`(?m)^` + l.server.pkg + ` (?:\d+:)?([0-9.]+)`).FindStringSubmatch(l.read(t, serverRoot+"/root/versions"))
	if version == nil {
		t.Fatalf("the disk's versions have no %s", l.server.pkg)
	}
	text, err := os.ReadFile(dhcpPage)
	if err != nil {
		t.Fatal(err)
	}
	re := regexp.MustCompile(`(?m)^\| ` + regexp.QuoteMeta(l.server.name) + ` \| ([0-9.]*) \|.*$`)
	found := re.FindSubmatch(text)
	if found == nil {
		t.Fatalf("docs/dhcp.md has no line for %s", l.server.name)
	}
	cells := []string{l.server.name, version[1]}
	if os.Getenv("UPDATE") == "" {
		cells[1] = string(found[1])
	}
	for _, name := range serverCases {
		cell := l.server.cannot[name]
		if holds[name] {
			cell = "yes"
		}
		cells = append(cells, cell)
	}
	line := "| " + strings.Join(cells, " | ") + " |"
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(dhcpPage, re.ReplaceAllLiteral(text, []byte(line)), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if string(found[0]) != line {
		t.Errorf("docs/dhcp.md says\n%s\nbut the test found (make test-dhcp UPDATE=1 writes it):\n%s", found[0], line)
	}
}
