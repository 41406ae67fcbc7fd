//go:build guesttest

package netd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/arcinit/arcinit/pkg/arcsetup/netd/firewall"
	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// running is a daemon under test.
type running struct {
	*daemon
	logged *logLines
	result <-chan error // of run
	end    func() error // ends the daemon and returns its error
}

// startDaemon runs a daemon. In its sysfs, eth0 and eth1 are NICs, whether the links
// exist or not. Its clock runs speed times as fast as the real clock.
func startDaemon(t *testing.T, cfg Config, speed time.Duration, change ...func(*daemon)) running {
	t.Helper()
	begin := time.Now()
	cfg.Sys = fakeSys(t, map[string]string{"eth0": "52:54:00:00:00:0a", "eth1": "52:54:00:00:00:0b"})
	cfg.ReportPath = filepath.Join(t.TempDir(), "run/net.json")
	cfg.Now = func() time.Time { return begin.Add(time.Since(begin) * speed) }
	cfg.After = func(d time.Duration) <-chan time.Time { return time.After(d / speed) }
	logged := new(logLines)
	d := newDaemon(cfg, slog.New(slog.NewTextHandler(logged, &slog.HandlerOptions{Level: slog.LevelDebug})))
	for _, c := range change {
		c(d)
	}
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() { result <- d.run(ctx) }()
	return running{d, logged, result, func() error { cancel(); return <-result }}
}

// nic returns the NIC with the role from the report's file.
func (r running) nic(t *testing.T, role Role) NIC {
	t.Helper()
	report, err := ReadReport(r.cfg.ReportPath)
	if err != nil {
		return NIC{} // there is no file yet
	}
	for _, n := range report.NICs {
		if n.Role == role {
			return n
		}
	}
	return NIC{}
}

func (r running) bound(t *testing.T, role Role, address string) func() bool {
	return func() bool {
		n := r.nic(t, role)
		return n.State == StateBound && reflect.DeepEqual(n.Addresses, []netip.Prefix{netip.MustParsePrefix(address)})
	}
}

func TestPrimaryAndBridge(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	far := newNamespace(t)
	addNIC(t, far, "eth0", "10.0.2.1/24")
	addNIC(t, far, "eth1", "192.168.64.1/24")
	s0 := serve(t, far, "eth0", granting(t, "10.0.2.15",
		raw(dhcpv4.OptionInterfaceMTU, 5, 120),
		raw(dhcpv4.OptionClasslessStaticRoute, 0, 10, 0, 2, 2, 24, 198, 51, 100, 192, 0, 2, 1)))
	serve(t, far, "eth1", granting(t, "192.168.64.7", raw(dhcpv4.OptionClasslessStaticRoute, 0, 192, 168, 64, 1)))

	// Configuration from before the daemon.
	for _, link := range []string{"eth0", "eth1"} {
		ip(t, "link", "set", link, "up")
	}
	ip(t, "addr", "add", "203.0.113.5/24", "dev", "eth1", "valid_lft", "1000", "preferred_lft", "1000")
	ip(t, "addr", "add", "203.0.113.9/32", "dev", "eth0")
	ip(t, "route", "add", "default", "dev", "eth1")
	ip(t, "route", "add", "default", "dev", "eth0", "metric", "100")
	ip(t, "route", "add", "default", "metric", "7", "nexthop", "dev", "eth0", "nexthop", "dev", "eth1")
	ip(t, "route", "add", "10.9.0.0/16", "dev", "eth0", "proto", "dhcp")
	ip(t, "route", "add", "10.8.0.0/16", "dev", "eth0")

	r := startDaemon(t, Config{Hostname: "guest"}, 1)
	eventually(t, "primary", r.bound(t, RolePrimary, "10.0.2.15/24"))
	eventually(t, "bridge", r.bound(t, RoleBridge, "192.168.64.7/24"))

	// Other programs' routes stay, but for the default route with the same metric.
	if got, want := strings.Split(ip(t, "route", "show", "default"), "\n")[0], "default via 10.0.2.2 dev eth0 proto dhcp"; strings.TrimSpace(got) != want {
		t.Errorf("first default route:\n%s\nwant:\n%s", got, want)
	}
	ip(t, "route", "del", "default", "metric", "100")
	ip(t, "route", "del", "default", "metric", "7")
	routes := ip(t, "route")
	for _, want := range []string{"198.51.100.0/24 via 192.0.2.1 dev eth0 proto dhcp onlink", "10.8.0.0/16", "192.168.64.0/24 dev eth1"} {
		if !strings.Contains(routes, want) {
			t.Errorf("routes:\n%s\nwant %q among them", routes, want)
		}
	}
	if strings.Contains(routes, "10.9.0.0") || strings.Count(routes, "eth1") != 1 {
		t.Errorf("routes:\n%s\nwant neither the old DHCP route nor other routes of eth1", routes)
	}
	addrs := ip(t, "-4", "addr")
	// The lifetimes are what is left of the lease's hour.
	for _, want := range []string{`203\.0\.113\.9/32`, `mtu 1400`, `valid_lft (3600|35\d\d)sec preferred_lft (3600|35\d\d)sec`} {
		if !regexp.MustCompile(want).MatchString(addrs) {
			t.Errorf("addresses:\n%s\nwant %q among them", addrs, want)
		}
	}
	if strings.Contains(addrs, "203.0.113.5") {
		t.Errorf("addresses:\n%s\nwant no earlier lease", addrs)
	}
	if got := readTrimmed(t, "/proc/sys/net/ipv4/conf/eth1/proxy_arp"); got != "1" {
		t.Errorf("proxy_arp = %s", got)
	}
	if got := readTrimmed(t, "/proc/sys/net/ipv4/neigh/eth1/proxy_delay"); got != "0" {
		t.Errorf("proxy_delay = %s", got)
	}

	for _, m := range s0.requests() {
		if m.ClassIdentifier() != "arcinit" || m.HostName() != "guest" {
			t.Errorf("%s: class %q, host name %q", m.MessageType(), m.ClassIdentifier(), m.HostName())
		}
		if id := m.Options.Get(dhcpv4.OptionClientIdentifier); !reflect.DeepEqual(id, append([]byte{1}, m.ClientHWAddr...)) {
			t.Errorf("%s: client id %x", m.MessageType(), id)
		}
		if list := m.ParameterRequestList(); list.Has(dhcpv4.OptionTFTPServerName) || list.Has(dhcpv4.OptionBootfileName) || !list.Has(dhcpv4.OptionClasslessStaticRoute) {
			t.Errorf("%s: asks for %s", m.MessageType(), list)
		}
	}

	primary, bridge := r.nic(t, RolePrimary), r.nic(t, RoleBridge)
	if primary.Gateway != addr("10.0.2.2") || len(primary.Routes) != 2 || primary.MTU != 1400 || primary.LeaseSeconds != 3600 ||
		primary.Server != addr("10.0.2.1") || !reflect.DeepEqual(primary.DNS, []netip.Addr{addr("10.0.2.3")}) ||
		primary.ConfiguredNS == 0 || primary.Expires.Sub(primary.Obtained) != time.Hour || primary.Error != "" {
		t.Errorf("report of the primary NIC: %+v", primary)
	}
	if bridge.Gateway.IsValid() || bridge.Routes != nil || bridge.DNS != nil || bridge.Error != "" {
		t.Errorf("report of the bridge NIC: %+v", bridge)
	}
	if err := r.end(); err != nil {
		t.Errorf("Run: %v", err)
	}

	// The end of the daemon changes nothing, and neither does the next run.
	lasting := func() string {
		return ip(t, "route") + "\n" + ip(t, "-4", "-o", "addr", "show", "scope", "global", "permanent") + "\n" +
			addresses(t)
	}
	before := lasting()
	r = startDaemon(t, Config{}, 1)
	eventually(t, "primary again", r.bound(t, RolePrimary, "10.0.2.15/24"))
	eventually(t, "bridge again", r.bound(t, RoleBridge, "192.168.64.7/24"))
	if after := lasting(); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	if err := r.end(); err != nil {
		t.Errorf("Run: %v", err)
	}
}

func TestSingleAddressLease(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	far := newNamespace(t)
	addNIC(t, far, "eth0", "192.0.2.1/24")
	serve(t, far, "eth0", granting(t, "203.0.113.77",
		dhcpv4.OptSubnetMask(net.CIDRMask(32, 32)), dhcpv4.OptRouter(net.ParseIP("192.0.2.1")),
		raw(dhcpv4.OptionIPAddressLeaseTime, 255, 255, 255, 255), raw(dhcpv4.OptionInterfaceMTU, 255, 255)))
	must(t, far.do(func() error {
		return ipCommand("route", "add", "203.0.113.77", "dev", "peer-eth0").Run()
	}))
	r := startDaemon(t, Config{}, 1)
	eventually(t, "bound", r.bound(t, RolePrimary, "203.0.113.77/32"))
	if got, want := ip(t, "route", "show", "default"), "default via 192.0.2.1 dev eth0 proto dhcp onlink"; got != want {
		t.Errorf("default route %q, want %q", got, want)
	}
	if got := ip(t, "-4", "addr", "show", "eth0"); !strings.Contains(got, "valid_lft forever") {
		t.Errorf("address:\n%s\nwant one for ever", got)
	}
	var gateway net.Listener
	must(t, far.do(func() (err error) {
		gateway, err = net.Listen("tcp4", "192.0.2.1:0")
		return err
	}))
	defer gateway.Close() //nolint:errcheck // a test's listener
	conn, err := net.DialTimeout("tcp4", gateway.Addr().String(), 10*time.Second)
	must(t, err)
	must(t, conn.Close())
	must(t, r.end())
}

func TestRenewal(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	far := newNamespace(t)
	addNIC(t, far, "eth0", "10.0.2.1/24")
	// Four seconds of real time: on a busy machine an answer may take one.
	short := dhcpv4.OptIPAddressLeaseTime(40 * time.Second)
	s := serve(t, far, "eth0", granting(t, "10.0.2.15", short))
	r := startDaemon(t, Config{}, 10)
	eventually(t, "bound", r.bound(t, RolePrimary, "10.0.2.15/24"))
	first, sofar := r.nic(t, RolePrimary), map[dhcpv4.TransactionID]bool{}
	for _, m := range s.requests() {
		sofar[m.TransactionID] = true // further copies may still arrive
	}
	eventually(t, "renewed", func() bool { return r.nic(t, RolePrimary).Obtained.After(first.Obtained) })
	if again := r.nic(t, RolePrimary); again.ConfiguredNS != first.ConfiguredNS {
		t.Errorf("a renewal moves the time of configuration from %d to %d", first.ConfiguredNS, again.ConfiguredNS)
	}
	renewals := 0
	for _, m := range s.requests() {
		if sofar[m.TransactionID] {
			continue
		}
		renewals++
		if m.MessageType() != dhcpv4.MessageTypeRequest || !m.ClientIPAddr.Equal(net.ParseIP("10.0.2.15")) ||
			m.Options.Has(dhcpv4.OptionServerIdentifier) || m.Options.Has(dhcpv4.OptionRequestedIPAddress) {
			t.Errorf("renewal: %s", m.Summary())
		}
	}
	if renewals == 0 {
		t.Error("no renewal has a transaction ID of its own")
	}

	// A renewal with another address removes the old address and keeps the routes.
	s.become(granting(t, "10.0.2.16", short))
	eventually(t, "other address", r.bound(t, RolePrimary, "10.0.2.16/24"))
	if got := ip(t, "-4", "addr", "show", "eth0"); strings.Contains(got, "10.0.2.15") || !strings.Contains(got, "10.0.2.16") {
		t.Errorf("addresses:\n%s", got)
	}
	if got := ip(t, "route", "show", "default"); got != "default via 10.0.2.1 dev eth0 proto dhcp" {
		t.Errorf("default route %q", got)
	}

	// After a NAK the daemon starts over.
	accept := granting(t, "10.0.2.17", short)
	s.become(func(request *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
		reply := accept(request)
		if request.ClientIPAddr.Equal(net.ParseIP("10.0.2.16")) {
			reply.UpdateOption(dhcpv4.OptMessageType(dhcpv4.MessageTypeNak))
		}
		return reply
	})
	eventually(t, "address after NAK", r.bound(t, RolePrimary, "10.0.2.17/24"))
	if r.logged.warnings("NAK") != 1 {
		t.Error("the NAK is not logged once")
	}

	// If the server is silent, the address goes when the lease expires.
	s.become(func(*dhcpv4.DHCPv4) *dhcpv4.DHCPv4 { return nil })
	eventually(t, "address gone", func() bool { return ip(t, "-4", "addr", "show", "eth0") == "" })
	if got := ip(t, "route"); got != "" {
		t.Errorf("routes after expiry:\n%s", got)
	}
	eventually(t, "report after expiry", func() bool {
		n := r.nic(t, RolePrimary)
		return n.State == StateDiscovering && n.Addresses == nil && n.Error != ""
	})
	s.become(granting(t, "10.0.2.15", short))
	eventually(t, "bound again", r.bound(t, RolePrimary, "10.0.2.15/24"))
	if err := r.end(); err != nil {
		t.Errorf("Run: %v", err)
	}
}

func TestServerComesLate(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	far := newNamespace(t)
	addNIC(t, far, "eth0", "10.0.2.1/24")
	s := serve(t, far, "eth0", func(*dhcpv4.DHCPv4) *dhcpv4.DHCPv4 { return nil })
	r := startDaemon(t, Config{}, 1)
	eventually(t, "warned that no server answers", func() bool { return r.logged.warnings(fmt.Sprintf("tries=%d", silent)) > 0 })
	eventually(t, "asked as often as each try does", func() bool {
		var tries []uint16 // seconds since the first try
		asked := map[uint16]int{}
		for _, m := range s.requests() {
			if asked[m.NumSeconds]++; asked[m.NumSeconds] == 1 {
				tries = append(tries, m.NumSeconds)
			}
		}
		for _, try := range tries[:min(silent, len(tries))] {
			if asked[try] != sends {
				return false
			}
		}
		return len(tries) >= silent
	})
	s.become(granting(t, "10.0.2.15"))
	eventually(t, "bound", r.bound(t, RolePrimary, "10.0.2.15/24"))
	if n := r.logged.warnings(fmt.Sprintf("tries=%d", silent)); n != 1 {
		t.Errorf("%d warnings that no server answers, want one", n)
	}
	must(t, r.end())
}

func TestNICsComeAndGo(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	far := newNamespace(t)
	r := startDaemon(t, Config{}, 1)
	eventually(t, "report without NICs", func() bool {
		report, err := ReadReport(r.cfg.ReportPath)
		return err == nil && report.NICs != nil && len(report.NICs) == 0
	})
	eventually(t, "said that there is no NIC", func() bool { return r.logged.count("no NIC has a role") > 0 })
	for range 2 {
		// The server starts after the NIC has appeared.
		addNIC(t, far, "eth0", "10.0.2.1/24")
		serve(t, far, "eth0", granting(t, "10.0.2.15"))
		eventually(t, "bound", r.bound(t, RolePrimary, "10.0.2.15/24"))
		ip(t, "link", "del", "eth0")
		eventually(t, "gone", func() bool { return r.nic(t, RolePrimary).Name == "" })
	}
	if err := r.end(); err != nil {
		t.Errorf("Run: %v", err)
	}
	if n := r.logged.count("no NIC has a role"); n != 1 {
		t.Errorf("logged %d times that there is no NIC, want once", n)
	}
}

// TestReportCannotBeWritten logs a report that cannot be written once, until one can.
func TestReportCannotBeWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "net.json")
	var logged bytes.Buffer
	d := newDaemon(Config{ReportPath: path}, slog.New(slog.NewTextHandler(&logged, nil)))
	for i, fails := range []bool{true, true, false, true} {
		must(t, os.RemoveAll(path))
		if fails { // by a directory in its place
			must(t, os.MkdirAll(filepath.Join(path, "full"), 0o755))
		}
		d.writeReport()
		if got, want := strings.Count(logged.String(), "\n"), []int{1, 1, 1, 2}[i]; got != want {
			t.Errorf("after write %d there are %d lines, want %d:\n%s", i+1, got, want, &logged)
		}
	}
}

// TestRenamed renames both NICs. The bridge NIC gets the primary NIC's old name.
func TestRenamed(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	serveBoth(t)
	type batch struct {
		add, remove string
		linkIsUp    bool
	}
	batches := make(chan batch, 10)
	subnet := netip.MustParsePrefix("172.20.0.0/16")
	r := startDaemon(t, Config{SandboxSubnet: subnet}, 1, func(d *daemon) {
		d.applyRules = func(add, remove []firewall.Rule) error {
			addresses, err := net.InterfaceAddrs()
			if err != nil {
				return err
			}
			batches <- batch{fmt.Sprint(add), fmt.Sprint(remove), len(addresses) > 0}
			return nil
		}
	})
	rules := func(link string) string {
		return fmt.Sprint(slices.Concat(firewall.BridgeRules(link), firewall.SandboxRules(subnet), firewall.IsolationRules(subnet)))
	}
	eventually(t, "primary", r.bound(t, RolePrimary, "10.0.2.15/24"))
	eventually(t, "bridge", r.bound(t, RoleBridge, "192.168.64.7/24"))
	if got, want := <-batches, (batch{rules("eth1"), "[]", false}); got != want || len(batches) > 0 {
		t.Errorf("the first rules: %+v, want %+v; and %d further batches", got, want, len(batches))
	}
	setLinks(t, r.cfg.Sys, map[string]string{"eth7": "52:54:00:00:00:0a", "eth0": "52:54:00:00:00:0b"})
	ip(t, "link", "set", "eth0", "down")
	ip(t, "link", "set", "eth0", "name", "eth7")
	ip(t, "link", "set", "eth7", "up")
	ip(t, "link", "set", "eth1", "down")
	ip(t, "link", "set", "eth1", "name", "eth0")
	ip(t, "link", "set", "eth0", "up")
	eventually(t, "primary", func() bool { return r.bound(t, RolePrimary, "10.0.2.15/24")() && r.nic(t, RolePrimary).Name == "eth7" })
	eventually(t, "bridge", func() bool { return r.bound(t, RoleBridge, "192.168.64.7/24")() && r.nic(t, RoleBridge).Name == "eth0" })
	if got, want := <-batches, (batch{rules("eth0"), fmt.Sprint(firewall.BridgeRules("eth1")), true}); got != want {
		t.Errorf("rules after the renaming: %+v, want %+v", got, want)
	}
	eventually(t, "default route", func() bool {
		return strings.HasPrefix(ip(t, "route", "show", "default"), "default via 10.0.2.1 dev eth7")
	})
	if got := readTrimmed(t, "/proc/sys/net/ipv4/conf/eth7/proxy_arp") + readTrimmed(t, "/proc/sys/net/ipv4/conf/eth0/proxy_arp"); got != "01" {
		t.Errorf("proxy_arp of the primary and bridge NIC: %q", got)
	}
	must(t, r.end())
}

// TestLookAgain changes proxy ARP and the firewall's answer, and asks the daemon to look
// again.
func TestLookAgain(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	serveBoth(t)
	lookAgain, applied := make(chan os.Signal), make(chan error, 10)
	refused := errors.New("refused")
	r := startDaemon(t, Config{LookAgain: lookAgain}, 10, func(d *daemon) {
		applied <- refused
		d.applyRules = func(add, remove []firewall.Rule) error {
			if len(add) == 0 || len(remove) > 0 {
				t.Errorf("add %v, remove %v", add, remove)
			}
			return <-applied
		}
	})
	eventually(t, "primary", r.bound(t, RolePrimary, "10.0.2.15/24"))
	eventually(t, "bridge", r.bound(t, RoleBridge, "192.168.64.7/24"))
	firewallError := func() string {
		report, err := ReadReport(r.cfg.ReportPath)
		must(t, err)
		return report.FirewallError
	}
	if got := firewallError(); got != refused.Error() || r.logged.count(refused.Error()) != 1 {
		t.Errorf("the report has the firewall error %q, logged %d times", got, r.logged.count(refused.Error()))
	}
	const proxyARP = "/proc/sys/net/ipv4/conf/eth1/proxy_arp"
	must(t, os.WriteFile(proxyARP, []byte("0\n"), 0))
	applied <- refused
	lookAgain <- unix.SIGUSR1
	eventually(t, "proxy_arp again", func() bool { return readTrimmed(t, proxyARP) == "1" })
	applied <- nil
	lookAgain <- unix.SIGUSR1
	eventually(t, "no firewall error", func() bool { return firewallError() == "" })
	if n := r.logged.count(refused.Error()); n != 1 {
		t.Errorf("logged %d times that the rules were refused", n)
	}
	must(t, r.end())
}

func TestCarrierComesLate(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	far := newNamespace(t)
	addNIC(t, far, "eth0", "10.0.2.1/24")
	s := serve(t, far, "eth0", granting(t, "10.0.2.15"))
	peer := func(state string) {
		must(t, far.do(func() error { return ipCommand("link", "set", "peer-eth0", state).Run() }))
	}
	peer("down")
	r := startDaemon(t, Config{}, 1)
	eventually(t, "no carrier", func() bool { return r.nic(t, RolePrimary).State == StateNoCarrier })
	peer("up")
	eventually(t, "bound", r.bound(t, RolePrimary, "10.0.2.15/24"))
	// A link that was down has lost its routes.
	first := r.nic(t, RolePrimary)
	ip(t, "link", "set", "eth0", "down")
	eventually(t, "no routes", func() bool { return ip(t, "route") == "" })
	ip(t, "link", "set", "eth0", "up")
	eventually(t, "renewed", func() bool { return r.nic(t, RolePrimary).Obtained.After(first.Obtained) })
	if got := ip(t, "route", "show", "default"); got != "default via 10.0.2.1 dev eth0 proto dhcp" {
		t.Errorf("default route %q", got)
	}
	// The routes come back even if the server is silent.
	s.become(func(*dhcpv4.DHCPv4) *dhcpv4.DHCPv4 { return nil })
	ip(t, "link", "set", "eth0", "down")
	eventually(t, "no routes", func() bool { return ip(t, "route") == "" })
	ip(t, "link", "set", "eth0", "up")
	eventually(t, "routes again", func() bool { return ip(t, "route", "show", "default") != "" })
	must(t, r.end())
}

// faulty is an exchanger that returns what the function returns.
type faulty func() (*dhcpv4.DHCPv4, error)

func (f faulty) discover(context.Context, netlink.Link, discovery) (grant, error) {
	ack, err := f()
	return grant{ack, time.Now()}, err
}

func (f faulty) request(context.Context, netlink.Link, request) (grant, error) {
	ack, err := f()
	return grant{ack, time.Now()}, err
}

func (f faulty) tell(netlink.Link, dhcpv4.MessageType, *dhcpv4.DHCPv4) error { return nil }

func TestPanicEndsRun(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	addNIC(t, newNamespace(t), "eth0", "10.0.2.1/24")
	r := startDaemon(t, Config{}, 1, func(d *daemon) {
		d.client = faulty(func() (*dhcpv4.DHCPv4, error) { panic("malformed") })
	})
	if err := <-r.result; err == nil || !strings.Contains(err.Error(), "malformed") {
		t.Errorf("Run: %v, want the panic", err)
	}
}

// releasing is an exchanger that reports released leases.
type releasing struct {
	faulty
	released chan *dhcpv4.DHCPv4
}

func (r releasing) tell(_ netlink.Link, what dhcpv4.MessageType, ack *dhcpv4.DHCPv4) error {
	if what == dhcpv4.MessageTypeRelease {
		r.released <- ack
	}
	return nil
}

// TestReleasedAtOnce ends the daemon with ErrRelease while a lease arrives.
func TestReleasedAtOnce(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	addNIC(t, newNamespace(t), "eth0", "10.0.2.1/24")
	released := make(chan *dhcpv4.DHCPv4, 1)
	r := startDaemon(t, Config{}, 1, func(d *daemon) {
		d.client = releasing{func() (*dhcpv4.DHCPv4, error) { d.fail(ErrRelease); return newACK(t, "10.0.2.15"), nil }, released}
	})
	must(t, <-r.result)
	select {
	case ack := <-released:
		if !ack.YourIPAddr.Equal(net.ParseIP("10.0.2.15")) {
			t.Errorf("released: %s", ack.Summary())
		}
	default:
		t.Error("the lease is not given back")
	}
}

// TestReleasedWhenRenewed releases a lease just after its renewal.
func TestReleasedWhenRenewed(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	far := newNamespace(t)
	addNIC(t, far, "eth0", "10.0.2.1/24")
	s := serve(t, far, "eth0", granting(t, "10.0.2.15"))
	ip(t, "addr", "add", "10.0.2.15/24", "dev", "eth0")
	ip(t, "link", "set", "eth0", "up")
	link, err := netlink.LinkByName("eth0")
	must(t, err)
	client := dhcpClient{now: time.Now}
	g, err := client.request(t.Context(), link, request{address: addr("10.0.2.15"), ack: newACK(t, "10.0.2.15"), server: addr("10.0.2.1"), wait: 10 * time.Second})
	must(t, err)
	must(t, client.tell(link, dhcpv4.MessageTypeRelease, g.DHCPv4))
	eventually(t, "released", func() bool {
		all := s.requests()
		return all[len(all)-1].MessageType() == dhcpv4.MessageTypeRelease
	})
}

// TestMTUOfBefore sets an MTU that the link had when the program last looked.
func TestMTUOfBefore(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	addNIC(t, newNamespace(t), "eth0", "10.0.2.1/24")
	k := kernel{&netlink.Handle{}}
	link, err := k.LinkByName("eth0")
	must(t, err)
	must(t, k.setMTU(link, 1400))
	ip(t, "link", "set", "eth0", "mtu", "1500")
	must(t, k.setMTU(link, 1400))
	if got := ip(t, "link", "show", "eth0"); !strings.Contains(got, " mtu 1400 ") {
		t.Errorf("the link is %s, want an MTU of 1400", got)
	}
}

func TestFailingAtOnceDoesNotSpin(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	addNIC(t, newNamespace(t), "eth0", "10.0.2.1/24")
	var began time.Time // of the first try
	tries := make(chan time.Time, 1000)
	r := startDaemon(t, Config{}, 1, func(d *daemon) {
		d.client = faulty(func() (*dhcpv4.DHCPv4, error) { tries <- time.Now(); return newACK(t, "0.0.0.0"), nil })
		after := d.cfg.After
		d.cfg.After = func(pause time.Duration) <-chan time.Time {
			if pause != reportDelay && began.IsZero() {
				began = time.Now()
			}
			return after(pause)
		}
	})
	for range 3 {
		<-tries
	}
	if took := (<-tries).Sub(began); took < 3*shortTry*3/4 {
		t.Errorf("the fourth try came after %v, want %v and more", took, 3*shortTry*3/4)
	}
	eventually(t, "error in the report", func() bool { return strings.Contains(r.nic(t, RolePrimary).Error, "0.0.0.0") })
	must(t, r.end())
	if n := r.logged.warnings("0.0.0.0"); n != 1 {
		t.Errorf("%d warnings of the address, want one", n)
	}
}

// TestTriesAgain has the kernel refuse what a static NIC and a NIC that is off need: a link with an MTU below 68 bytes has no IPv4.
func TestTriesAgain(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	for _, link := range []string{"eth0", "eth1"} {
		ip(t, "link", "add", link, "type", "dummy")
		ip(t, "link", "set", link, "mtu", "60")
	}
	roles := Roles{Primary: "none", Bridge: "none", Further: []Further{
		{NIC: "eth0", Role: RoleStatic, Address: netip.MustParsePrefix("192.0.2.7/24")}, {NIC: "eth1", Role: RoleOff},
	}}
	off, err := netlink.LinkByName("eth1")
	must(t, err)
	before := Report{NICs: []NIC{{
		Role: RoleDHCP, Name: "eth1", MAC: off.Attrs().HardwareAddr.String(), Obtained: time.Now(),
		Addresses: []netip.Prefix{netip.MustParsePrefix("198.51.100.7/24")},
	}}}
	r := startDaemon(t, Config{Roles: roles}, 1, func(d *daemon) {
		data, err := json.Marshal(before)
		must(t, err)
		must(t, os.MkdirAll(filepath.Dir(d.cfg.ReportPath), 0o755))
		must(t, os.WriteFile(d.cfg.ReportPath, data, 0o644))
	})
	for _, role := range []Role{RoleStatic, RoleOff} {
		eventually(t, "refused: "+string(role), func() bool { return r.nic(t, role).Error != "" })
	}
	for _, link := range []string{"eth0", "eth1"} {
		ip(t, "link", "set", link, "mtu", "1500")
	}
	eventually(t, "the static NIC has its address", func() bool { return addresses(t) == "eth0 192.0.2.7/24" })
	eventually(t, "the NIC that is off has no error", func() bool { return r.nic(t, RoleOff).Error == "" })
	must(t, r.end())
}
