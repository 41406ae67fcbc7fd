//go:build vmtest

package vmtests

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/arcinit/arcinit/pkg/arcsetup"
	"github.com/arcinit/arcinit/pkg/arcsetup/netd"
	"github.com/arcinit/arcinit/vmtests/dhcppeer"
	"github.com/arcinit/arcinit/vmtests/probe"
)

// Addresses behind bridges in the guest. Each belongs to a network namespace that
// answers pings and TCP on port 80.
const (
	containerAddress = "172.17.0.2"
	sandboxAddress   = "172.20.0.2"
	otherAddress     = "172.30.0.2"
)

// containerAddresses returns the container's eight addresses.
func containerAddresses() []netip.Addr {
	all := []netip.Addr{netip.MustParseAddr(containerAddress)}
	for len(all) < 8 {
		all = append(all, all[len(all)-1].Next())
	}
	return all
}

// station sends packets and gets answers: a host outside the guest, or a network
// namespace behind a bridge in the guest.
type station struct {
	name    string
	address string
	// ping pings an address from the station, talk exchanges a line with its port 80.
	ping, talk func(to string, timeout time.Duration) error
}

// stations boots a guest that routes between five stations, and returns them by name.
func stations(t *testing.T) (m *machine, all map[string]*station) {
	t.Helper()
	nics, peers := dhcpPeers(t, time.Hour)
	m = boot(t, image{nics: nics, tools: true, cmdline: []string{quiet}})
	address(t, m, "eth0", primaryAddress)
	address(t, m, "eth1", bridgeAddress)
	all = map[string]*station{}
	for name, peer := range map[string]*dhcppeer.Peer{"outside": peers[0], "host": peers[1]} {
		// The peer sends ARP for these subnets, as if they were on the link.
		for _, subnet := range []string{"172.17.0.0/16", "172.20.0.0/16", "172.30.0.0/16"} {
			if err := peer.Route(netip.MustParsePrefix(subnet)); err != nil {
				t.Fatal(err)
			}
		}
		l, err := peer.Listen(80)
		if err != nil {
			t.Fatal(err)
		}
		go serveEcho(l)
		all[name] = hostStation(t, name, &peer.Host)
	}
	for name, address := range map[string]string{"container": containerAddress, "sandbox": sandboxAddress, "other": otherAddress} {
		all[name] = m.bridged(t, name, netip.MustParseAddr(address))
	}
	var further strings.Builder
	for _, a := range containerAddresses()[1:] {
		fmt.Fprintf(&further, "address add %s/16 dev eth0\n", a)
	}
	m.ipBatch(t, "container", further.String())
	// The rules should refuse packets from outside, not a missing ARP answer.
	m.write(t, "/proc/sys/net/ipv4/conf/eth0/proxy_arp", "1\n")
	m.write(t, "/proc/sys/net/ipv4/neigh/eth0/proxy_delay", "0\n")
	return m, all
}

func serveEcho(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return // the peer is closed
		}
		go func() {
			_, _ = io.Copy(conn, conn)
			_ = conn.Close()
		}()
	}
}

func hostStation(t *testing.T, name string, h *dhcppeer.Host) *station {
	return &station{name: name, address: h.Addr().String(),
		ping: func(to string, timeout time.Duration) error {
			ctx, cancel := context.WithTimeout(t.Context(), timeout)
			defer cancel()
			return h.Ping(ctx, netip.MustParseAddr(to))
		},
		talk: func(to string, timeout time.Duration) error {
			return talked(t, h, netip.AddrPortFrom(netip.MustParseAddr(to), 80), timeout)
		},
	}
}

// talked sends a line from a host to an address, which must send it back.
func talked(t *testing.T, from *dhcppeer.Host, to netip.AddrPort, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	conn, err := from.Dial(ctx, to)
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // a test's connection
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(0, 1)) })()
	if _, err := fmt.Fprintln(conn, "hello"); err != nil {
		return err
	}
	return heard(bufio.NewReader(conn).ReadString('\n'))
}

func heard(line string, err error) error {
	if err == nil && line != "hello\n" {
		err = fmt.Errorf("%q came back", line)
	}
	return err
}

// bridged makes a network namespace behind a bridge of its own. The bridge has the
// first address of the /16, as with a container engine.
func (m *machine) bridged(t *testing.T, name string, address netip.Addr) *station {
	t.Helper()
	bridge := map[string]string{"container": "docker0"}[name]
	if bridge == "" {
		bridge = name + "0"
	}
	gateway := netip.PrefixFrom(address, 16).Masked().Addr().Next()
	m.ipBatch(t, "", strings.NewReplacer("BRIDGE", bridge, "GATEWAY", gateway.String(), "NAME", name).Replace(`
		link add BRIDGE type bridge
		address add GATEWAY/16 dev BRIDGE
		link set BRIDGE up
		netns add NAME
		link add veth-NAME type veth peer name eth0 netns NAME
		link set veth-NAME master BRIDGE up
	`))
	m.ipBatch(t, name, strings.NewReplacer("ADDRESS", address.String(), "GATEWAY", gateway.String()).Replace(`
		link set lo up
		address add ADDRESS/16 dev eth0
		link set eth0 up
		route add default via GATEWAY
	`))
	must[none](t, m, "Serve", probe.Endpoint{Namespace: name, Address: address.String() + ":80"})
	return &station{name: name, address: address.String(),
		ping: func(to string, timeout time.Duration) error {
			_, err := ask[none](m, "Ping", probe.Endpoint{Namespace: name, Address: to, Timeout: timeout})
			return err
		},
		talk: func(to string, timeout time.Duration) error {
			return heard(ask[string](m, "Talk", probe.Endpoint{Namespace: name, Address: to + ":80", Timeout: timeout}))
		},
	}
}

// ipBatch runs lines of commands with the real ip, in a network namespace.
func (m *machine) ipBatch(t *testing.T, namespace, lines string) {
	t.Helper()
	argv := ip
	if namespace != "" {
		argv = append(argv, "-netns", namespace)
	}
	r := must[probe.Result](t, m, "Run", probe.Command{Argv: append(argv, "-batch", "-"), Stdin: lines})
	if r.Code != 0 {
		t.Fatalf("ip -batch ended with code %d: %s%s\n%s", r.Code, r.Stdout, r.Stderr, lines)
	}
}

// write writes a file of the guest.
func (m *machine) write(t *testing.T, path, text string) {
	t.Helper()
	must[none](t, m, "WriteFile", struct {
		Path string
		Data []byte
	}{path, []byte(text)})
}

// ruleset returns the rules that the real iptables lists. It must not print a warning.
func (m *machine) ruleset(t *testing.T) string {
	t.Helper()
	r := m.iptables(t, "-S")
	if r.Code != 0 || r.Stderr != "" {
		t.Fatalf("iptables -S: code %d, %s", r.Code, r.Stderr)
	}
	return r.Stdout
}

// setRules changes the rules with the real iptables.
func (m *machine) setRules(t *testing.T, args string) {
	t.Helper()
	if r := m.iptables(t, strings.Fields(args)...); r.Code != 0 || r.Stderr != "" {
		t.Fatalf("iptables %s: code %d, %s", args, r.Code, r.Stderr)
	}
}

// dockerChains are the chains that Docker 28 adds to `ip filter` for docker0. They drop
// packets from other links to a container before FORWARD's own rules. (With
// allow-direct-routing. Otherwise Docker has a drop rule in `ip raw`.)
const dockerChains = `*filter
-N DOCKER
-N DOCKER-BRIDGE
-N DOCKER-CT
-N DOCKER-FORWARD
-I FORWARD -j DOCKER-FORWARD
-I FORWARD -j DOCKER-USER
-A DOCKER-FORWARD -j DOCKER-CT
-A DOCKER-FORWARD -j DOCKER-BRIDGE
-A DOCKER-FORWARD -i docker0 -j ACCEPT
-A DOCKER-CT -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A DOCKER-BRIDGE -o docker0 -j DOCKER
-A DOCKER ! -i docker0 -o docker0 -j DROP
COMMIT
`

// TestForwarding checks which of five stations around the guest can reach which.
func TestForwarding(t *testing.T) {
	t.Parallel()
	// The opened pairs must always work. The others depend on the engine's rules.
	opened := []string{
		"host container", "host sandbox", "sandbox outside", "sandbox container", "sandbox host",
		"outside sandbox", "container sandbox", "other sandbox",
	}
	toContainer := []string{"outside container", "other container"}
	fromContainer := []string{"container outside", "container host"}
	aside := []string{"other outside", "outside other"}

	m, all := stations(t)
	reach := func(want bool, lists ...[]string) {
		t.Helper()
		for _, list := range lists {
			for _, pair := range list {
				from, to, _ := strings.Cut(pair, " ")
				checkReach(t, all[from], all[to], want)
			}
		}
	}
	t.Run("proxyarp", func(t *testing.T) { testProxyARP(t, all["host"]) })

	t.Run("ACCEPT", func(t *testing.T) { reach(true, opened, toContainer, fromContainer, aside) })
	m.setRules(t, "-P FORWARD DROP")
	t.Run("DROP", func(t *testing.T) {
		reach(true, opened)
		reach(false, toContainer, fromContainer, aside)
	})
	docker := must[probe.Result](t, m, "Run", probe.Command{
		Argv: append(tool("iptables", "xtables-nft-multi", "iptables-restore"), "--noflush"), Env: iptablesEnv, Stdin: dockerChains,
	})
	if docker.Code != 0 || docker.Stderr != "" {
		t.Fatalf("iptables-restore: code %d, %s", docker.Code, docker.Stderr)
	}
	t.Run("Docker/DROP", func(t *testing.T) {
		reach(true, opened, fromContainer)
		reach(false, toContainer, aside)
	})
	t.Run("again", func(t *testing.T) {
		before := m.ruleset(t)
		if r := m.run(t, arcsetup.ProgramPath); r.Code != 0 {
			t.Errorf("uinit ended with code %d: %s", r.Code, r.Stderr)
		}
		if after := m.ruleset(t); after != before || !strings.Contains(after, "-P FORWARD DROP\n") {
			t.Errorf("before:\n%safter:\n%s", before, after)
		}
	})
	m.setRules(t, "-P FORWARD ACCEPT")
	t.Run("Docker/ACCEPT", func(t *testing.T) {
		reach(true, opened, fromContainer, aside)
		reach(false, toContainer)
	})
	// Without the rules in DOCKER-USER, the engine drops packets to unpublished ports.
	m.setRules(t, "-F DOCKER-USER")
	t.Run("Docker/alone", func(t *testing.T) { reach(false, []string{"host container"}, toContainer) })
	m.setRules(t, "-D DOCKER ! -i docker0 -o docker0 -j DROP")
	t.Run("Docker/lifted", func(t *testing.T) { reach(true, []string{"host container"}, toContainer) })
}

// checkReach checks ping and TCP from one station to the other.
func checkReach(t *testing.T, from, to *station, want bool) {
	t.Helper()
	timeout := time.Second
	if want {
		timeout = 5 * time.Second
	}
	for what, err := range map[string]error{"ping": from.ping(to.address, timeout), "TCP": from.talk(to.address, timeout)} {
		if want && err != nil {
			t.Errorf("%s from %s to %s: %v", what, from.name, to.name, err)
		}
		if !want && err == nil {
			t.Errorf("%s from %s to %s is answered", what, from.name, to.name)
		}
	}
}

// testProxyARP pings addresses for the first time. By default, the kernel delays each
// proxied ARP answer by up to 0.8 s, which would add up to about three seconds.
func testProxyARP(t *testing.T, host *station) {
	begin := time.Now()
	for _, a := range containerAddresses() {
		if err := host.ping(a.String(), 5*time.Second); err != nil {
			t.Error(err)
		}
	}
	took := time.Since(begin)
	t.Logf("the first pings to 8 addresses took %v", took)
	if took > time.Second {
		t.Errorf("the first pings to 8 addresses took %v", took)
	}
}

// legacyOnly returns the files of the image's modules without nfnetlink and the modules
// that need it, such as nf_tables. Only the tables of iptables-legacy are left.
func legacyOnly(t *testing.T) (files map[string]string) {
	t.Helper()
	root := built(t, "modules")
	files = map[string]string{}
	keep := func(path, text string) { files[strings.TrimPrefix(path, root)] = text }
	read := func(path string) string {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	indexes, err := filepath.Glob(root + "/lib/modules/*/modules.*")
	if err != nil || len(indexes) == 0 {
		t.Fatalf("indexes of the modules in %s: %v, %v", root, indexes, err)
	}
	dir := filepath.Dir(indexes[0])
	without := map[string]bool{}
	var dep, alias strings.Builder
	for line := range strings.Lines(read(dir + "/modules.dep")) {
		module, _, _ := strings.Cut(line, ":")
		if strings.Contains(line, "/nfnetlink.ko") {
			without[strings.TrimSuffix(filepath.Base(module), ".ko")] = true
			continue
		}
		dep.WriteString(line)
		keep(filepath.Join(dir, module), read(filepath.Join(dir, module)))
	}
	if !without["nf_tables"] {
		t.Fatalf("nf_tables is no module that needs nfnetlink: those are %v", without)
	}
	for line := range strings.Lines(read(dir + "/modules.alias")) {
		if f := strings.Fields(line); len(f) != 3 || !without[f[2]] {
			alias.WriteString(line)
		}
	}
	for _, path := range indexes {
		keep(path, read(path))
	}
	keep(dir+"/modules.dep", dep.String())
	keep(dir+"/modules.alias", alias.String())
	return files
}

// sandboxRules are the rules for the default sandbox subnet.
var sandboxRules = []string{"-s 172.20.0.0/16 -j ACCEPT", "-d 172.20.0.0/16 -j ACCEPT"}

func bridgeRules(link string) []string {
	return []string{"-i " + link + " -j ACCEPT", "-o " + link + " -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"}
}

// rulesRefused waits until net.json and the console name the missing kernel symbols.
func rulesRefused(t *testing.T, m *machine, symbols ...string) {
	t.Helper()
	said(t, m, append([]string{"netd: "}, symbols...)...)
	eventually(t, func() string {
		var r netd.Report
		if err := json.Unmarshal([]byte(m.read(t, netd.DefaultReport)), &r); err != nil {
			return err.Error()
		}
		for _, symbol := range symbols {
			if !strings.Contains(r.FirewallError, symbol) {
				return fmt.Sprintf("net.json has the firewall error %q, want %s in it", r.FirewallError, symbol)
			}
		}
		return ""
	})
}

// TestRulesBeforeAddress checks the rules of a bridge NIC whose DHCP server is silent,
// and then that the daemon restores removed rules and proxy ARP.
func TestRulesBeforeAddress(t *testing.T) {
	t.Parallel()
	nics, peers := dhcpPeers(t, time.Hour)
	peers[1].Behave(dhcppeer.Silent)
	m := boot(t, image{nics: nics, tools: true, cmdline: []string{quiet}})
	rules := append(bridgeRules("eth1"), sandboxRules...)
	testRules(t, m, rules...)
	if l := link(must[[]probe.Link](t, m, "Links", none{}), "eth1"); l == nil || len(l.Addresses) != 0 {
		t.Errorf("eth1 is %+v, want it without an address", l)
	}
	peers[1].Behave()
	address(t, m, "eth1", bridgeAddress)
	address(t, m, "eth0", primaryAddress)

	const proxyARP = "/proc/sys/net/ipv4/conf/eth1/proxy_arp"
	before := m.ruleset(t)
	lookAgain := func() {
		t.Helper()
		must[none](t, m, "Kill", probe.Signal{PID: daemon(t, m), Number: int(syscall.SIGUSR1)})
	}
	m.setRules(t, "-D FORWARD "+rules[1])
	m.setRules(t, "-F DOCKER-USER")
	m.write(t, proxyARP, "0\n")
	lookAgain()
	testRules(t, m, rules...)
	eventually(t, func() string {
		if got := m.read(t, proxyARP); got != "1\n" {
			return fmt.Sprintf("proxy_arp of eth1 is %q", got)
		}
		return ""
	})
	// proxy_arp shows that the daemon has handled the signal. The rules are complete,
	// and must stay as they are.
	for range 2 {
		m.write(t, proxyARP, "0\n")
		lookAgain()
		eventually(t, func() string {
			if got := m.read(t, proxyARP); got != "1\n" {
				return fmt.Sprintf("proxy_arp of eth1 is %q", got)
			}
			return ""
		})
	}
	after := m.ruleset(t)
	if a, b := strings.Count(after, "\n"), strings.Count(before, "\n"); a != b {
		t.Errorf("%d rules before, %d after:\n%s\n%s", b, a, before, after)
	}
	testRules(t, m, rules...)
	if n := serviceStatus(t, m, "netd").Ends; n != 0 {
		t.Errorf("the network daemon has ended %d times", n)
	}
}

// TestBridgeAtAnyMoment plugs the bridge NIC in at a moment of the first 100 ms after
// the kernel starts /init. Whenever that is, the NIC has its rules while its DHCP
// server is still silent, and gets its address. FULL=1 boots 20 guests.
func TestBridgeAtAnyMoment(t *testing.T) {
	t.Parallel()
	boots := 2
	if os.Getenv("FULL") != "" {
		boots = 20
	}
	two := make(chan struct{}, 2) // guests at a time
	for i := range boots {
		moment := time.Duration(i) * 100 * time.Millisecond / time.Duration(boots)
		t.Run(moment.String(), func(t *testing.T) {
			t.Parallel()
			two <- struct{}{}
			defer func() { <-two }()
			_, peers := dhcpPeers(t, time.Hour)
			peers[1].Behave(dhcppeer.Silent)
			c := cards(peers)
			m := c.boot(t, 0, "ignore_loglevel") // the console shows when /init starts
			if err := m.WaitConsole(t.Context(), "Run /init as init process"); err != nil {
				t.Fatal(err)
			}
			<-time.After(moment)
			c.plugIn(t, m, 1)
			testRules(t, m, append(bridgeRules("eth1"), sandboxRules...)...)
			if l := link(must[[]probe.Link](t, m, "Links", none{}), "eth1"); l == nil || len(l.Addresses) != 0 {
				t.Errorf("eth1 is %+v, want it without an address", l)
			}
			peers[1].Behave()
			address(t, m, "eth1", bridgeAddress)
			c.work(t, m)
			if err := m.Stop(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestLegacyTablesOnly boots a kernel whose only tables are those of
// iptables-legacy. (TestNoNFTables has nfnetlink, but no nf_tables.)
func TestLegacyTablesOnly(t *testing.T) {
	t.Parallel()
	m := boot(t, image{initrd: "initramfs.cpio", files: legacyOnly(t), nics: bothNICs(), tools: true, cmdline: []string{quiet}})
	comesUp(t, m)
	rulesRefused(t, m, "CONFIG_NF_TABLES", "CONFIG_NF_TABLES_IPV4", "CONFIG_NFT_COMPAT", "CONFIG_NETFILTER_XT_MATCH_CONNTRACK")
	outcome(t, m, "netfilter", "unavailable", "nf_tables")
	// The rest works as usual, and the legacy tables are unchanged.
	address(t, m, "eth0", "10.0.2.15/24")
	address(t, m, "eth1", "192.168.64.15/24")
	r := must[probe.Result](t, m, "Run", probe.Command{Argv: tool("iptables", "xtables-legacy-multi", "iptables", "-S"), Env: iptablesEnv})
	if want := "-P INPUT ACCEPT\n-P FORWARD ACCEPT\n-P OUTPUT ACCEPT\n"; r.Code != 0 || r.Stdout != want {
		t.Errorf("iptables-legacy -S: code %d, %s%s", r.Code, r.Stdout, r.Stderr)
	}
	if r := m.iptables(t, "-S"); r.Code == 0 {
		t.Errorf("iptables-nft finds tables: %s", r.Stdout)
	}
}

// TestNoConntrackMatch boots a kernel that refuses one of the rules. All others hold.
func TestNoConntrackMatch(t *testing.T) {
	t.Parallel()
	m := boot(t, image{nics: bothNICs(), tools: true, cmdline: []string{quiet, "module_blacklist=xt_conntrack"}})
	comesUp(t, m)
	rulesRefused(t, m, "CONFIG_NFT_COMPAT", "CONFIG_NETFILTER_XT_MATCH_CONNTRACK")
	testRules(t, m, append(sandboxRules, bridgeRules("eth1")[0])...)
}
