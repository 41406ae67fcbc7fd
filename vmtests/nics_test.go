//go:build vmtest

package vmtests

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/arcinit/arcinit/pkg/arcsetup"
	"github.com/arcinit/arcinit/pkg/arcsetup/netd"
	"github.com/arcinit/arcinit/vmtests/dhcppeer"
	"github.com/arcinit/arcinit/vmtests/guest"
	"github.com/arcinit/arcinit/vmtests/probe"
	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/rfc1035label"
)

// capture is a file to which QEMU writes all frames of a NIC.
type capture struct {
	nic  int
	file string
}

// newCapture captures the frames of a NIC, counted from 0.
func newCapture(t *testing.T, nic int) capture {
	return capture{nic, filepath.Join(t.TempDir(), "frames.pcap")}
}

func (c capture) qemu() []string {
	return []string{"-object", fmt.Sprintf("filter-dump,id=capture%d,netdev=nic%d,file=%s", c.nic, c.nic, c.file)}
}

// frames returns the frames so far, in both directions.
func (c capture) frames(t *testing.T) (frames [][]byte) {
	t.Helper()
	b, err := os.ReadFile(c.file)
	if err != nil {
		t.Fatal(err)
	}
	// The file and each packet have a header. The third number of a packet's header is
	// its length (pcap-savefile(5)).
	const fileHeader, packetHeader = 24, 16
	if len(b) < fileHeader {
		t.Fatalf("%s has %d bytes", c.file, len(b))
	}
	for b = b[fileHeader:]; len(b) >= packetHeader; {
		n := int(binary.NativeEndian.Uint32(b[8:]))
		if b = b[packetHeader:]; len(b) < n {
			break // QEMU is still writing the frame
		}
		frames, b = append(frames, b[:n]), b[n:]
	}
	return frames
}

const arpRequest = 1 // RFC 826

// arp returns an ARP packet's operation, or 0 for another frame, and the addresses of its sender and target.
func arp(frame []byte) (operation byte, sender, target netip.Addr) {
	// Offsets of RFC 826, after the Ethernet header.
	if len(frame) < 42 || binary.BigEndian.Uint16(frame[12:]) != 0x0806 {
		return 0, sender, target
	}
	return frame[21], netip.AddrFrom4([4]byte(frame[28:])), netip.AddrFrom4([4]byte(frame[38:]))
}

// requests counts the ARP requests from a sender's address for another. From 0.0.0.0 they are probes, and from the address itself
// announcements (RFC 5227).
func (c capture) requests(t *testing.T, from, to netip.Addr) (n int) {
	t.Helper()
	all := 0
	for _, f := range c.frames(t) {
		operation, sender, target := arp(f)
		if operation == 0 {
			continue
		}
		all++
		if operation == arpRequest && sender == from && target == to {
			n++
		}
	}
	if all == 0 {
		t.Errorf("%s has no ARP at all", c.file)
	}
	return n
}

// furtherPeers returns four NICs in different subnets. Their servers offer a router,
// routes, DNS and names.
func furtherPeers(t *testing.T) (nics []guest.NIC, peers []*dhcppeer.Peer) {
	t.Helper()
	for i := range 4 {
		client := fmt.Sprintf("10.9.%d.15/24", i)
		nic, peer := dhcpPeer(t, client, leaseOf(client, time.Hour, everything(i)...))
		nics, peers = append(nics, nic), append(peers, peer)
	}
	return nics, peers
}

// everything returns the options that a server can offer beside router and DNS.
func everything(i int) []dhcpv4.Option {
	gateway := fmt.Sprintf("10.9.%d.1", i)
	return []dhcpv4.Option{
		dhcpv4.OptClasslessStaticRoute(route("0.0.0.0/0", gateway), route(fmt.Sprintf("172.18.%d.0/24", i), gateway)),
		dhcpv4.OptDomainName(fmt.Sprintf("net%d.example", i)),
		dhcpv4.OptDomainSearch(&rfc1035label.Labels{Labels: []string{fmt.Sprintf("net%d.example", i), "example"}}),
		dhcpv4.OptHostName(fmt.Sprintf("guest-of-net%d", i)),
	}
}

// route returns a route of option 121.
func route(to, gateway string) *dhcpv4.Route {
	p := netip.MustParsePrefix(to)
	return &dhcpv4.Route{
		Dest:   &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), 32)},
		Router: net.IP(netip.MustParseAddr(gateway).AsSlice()),
	}
}

// ipRoutes waits for the real ip to list exactly these routes.
func ipRoutes(t *testing.T, m *machine, want ...string) {
	t.Helper()
	eventually(t, func() string {
		var have []string
		for line := range strings.Lines(m.ip(t, "-4", "route")) {
			have = append(have, strings.TrimSpace(line))
		}
		if !slices.Equal(have, want) {
			return fmt.Sprintf("the routes are\n%s\nwant\n%s", strings.Join(have, "\n"), strings.Join(want, "\n"))
		}
		return ""
	})
}

// connected is the route to the subnet of a NIC's own address.
func connected(nic, subnet int, host string) string {
	return fmt.Sprintf("10.9.%d.0/24 dev eth%d proto kernel scope link src 10.9.%d.%s", subnet, nic, subnet, host)
}

// TestNamedNICs gives four NICs roles by name and by MAC address. No NIC has the role
// that it would have by default.
func TestNamedNICs(t *testing.T) {
	t.Parallel()
	nics, peers := furtherPeers(t)
	m := boot(t, image{nics: nics, cmdline: []string{quiet}, tools: true, shared: map[string]string{"etc/arcinit.toml": `
[network]
primary = "52:54:00:00:00:03"
bridge = "eth0"
[[network.nic]]
nic = "eth1"
role = "dhcp"
[[network.nic]]
nic = "52:54:00:00:00:04"
role = "static"
address = "10.9.3.77/24"
`}})
	for i, host := range []string{"15", "15", "15", "77"} {
		answers(t, &peers[i].Host, netip.MustParseAddr(fmt.Sprintf("10.9.%d.%s", i, host)))
	}
	ipRoutes(t, m,
		"default via 10.9.2.1 dev eth2 proto dhcp",
		connected(0, 0, "15"), connected(1, 1, "15"), connected(2, 2, "15"), connected(3, 3, "77"),
		"172.18.1.0/24 via 10.9.1.1 dev eth1 proto dhcp",
		"172.18.2.0/24 via 10.9.2.1 dev eth2 proto dhcp")
	if got := (talk{Peer: peers[3]}).kinds(); len(got) > 0 {
		t.Errorf("the NIC with an address of its own sent %q", got)
	}
	for i, want := range []string{"1\n", "0\n", "0\n", "0\n"} {
		if got := m.read(t, fmt.Sprintf("/proc/sys/net/ipv4/conf/eth%d/proxy_arp", i)); got != want {
			t.Errorf("proxy_arp of eth%d is %q", i, got)
		}
	}
	testRules(t, m, bridgeRules("eth0")...)
	for i, want := range []netd.Role{netd.RoleBridge, netd.RoleDHCP, netd.RolePrimary, netd.RoleStatic} {
		if got := network(t, m)[fmt.Sprintf("eth%d", i)].Role; got != want {
			t.Errorf("net.json has eth%d as %s, want %s", i, got, want)
		}
	}
	t.Run("names", func(t *testing.T) {
		primary, bridge := network(t, m)["eth2"], network(t, m)["eth0"]
		if fmt.Sprintf("%s %s %s %s %s", primary.DNS, primary.Domain, primary.Search, primary.Hostname, primary.Gateway) !=
			"[10.9.2.1] net2.example [net2.example example] guest-of-net2 10.9.2.1" {
			t.Errorf("net.json has %+v", primary)
		}
		if len(bridge.DNS)+len(bridge.Search)+len(bridge.Domain)+len(bridge.Routes) > 0 || bridge.Gateway.IsValid() {
			t.Errorf("net.json has for the bridge %+v", bridge)
		}
		if got := m.read(t, "/etc/resolv.conf"); got != "nameserver 127.0.0.1\n" {
			t.Errorf("/etc/resolv.conf holds %q", got)
		}
	})
	t.Run("static", func(t *testing.T) {
		// Set the link down, and later up again.
		m.ip(t, "link", "set", "eth3", "down")
		m.ip(t, "address", "flush", "dev", "eth3")
		state(t, m, "eth3", netd.StateNoCarrier)
		m.ip(t, "link", "set", "eth3", "up")
		answers(t, &peers[3].Host, netip.MustParseAddr("10.9.3.77"))
	})
}

// TestLeaseContents changes the primary NIC's lease several times. Further NICs must
// not be affected.
func TestLeaseContents(t *testing.T) {
	t.Parallel()
	nics, peers := furtherPeers(t)
	bridge := netip.MustParsePrefix(bridgeAddress)
	peers[1].Lease(dhcppeer.Lease{Client: bridge.Addr()})
	m := boot(t, image{nics: nics, cmdline: []string{quiet}, tools: true, shared: map[string]string{"etc/arcinit.toml": `
[[network.nic]]
nic = "eth2"
role = "dhcp-no-route"
[[network.nic]]
nic = "eth3"
role = "off"
`}})
	for i := range 3 {
		answers(t, &peers[i].Host, netip.MustParseAddr(fmt.Sprintf("10.9.%d.15", i)))
	}
	primary := peers[0]
	gateway, err := primary.Neighbour(netip.MustParseAddr("192.0.2.1")) // off the subnet
	if err != nil {
		t.Fatal(err)
	}
	beyond, err := primary.Beyond(beyondPrimary)
	if err != nil {
		t.Fatal(err)
	}
	listen(t, beyond)
	connected := []string{connected(0, 0, "15"), connected(1, 1, "15"), connected(2, 2, "15")}
	// leases changes the server's lease and makes the guest ask for it.
	leases := func(t *testing.T, p *dhcppeer.Peer, l dhcppeer.Lease) {
		t.Helper()
		p.Lease(l)
		s := since(p)
		must[none](t, m, "SetClock", 2*time.Second)
		s.sent(t, dhcpv4.MessageTypeAck)
	}

	t.Run("roles", func(t *testing.T) {
		ipRoutes(t, m, append(append([]string{"default via 10.9.0.1 dev eth0 proto dhcp"}, connected...),
			"172.18.0.0/24 via 10.9.0.1 dev eth0 proto dhcp")...)
		if l := link(must[[]probe.Link](t, m, "Links", none{}), "eth3"); l.Up || len(l.Addresses) > 0 {
			t.Errorf("the NIC that is off is %+v", l)
		}
		if got := (talk{Peer: peers[3]}).kinds(); len(got) > 0 {
			t.Errorf("the NIC that is off sent %q", got)
		}
		for name, want := range map[string]netd.State{"eth2": netd.StateBound, "eth3": netd.StateOff} {
			if got := network(t, m)[name].State; got != want {
				t.Errorf("net.json has %s %s", name, got)
			}
		}
	})
	t.Run("lifetime", func(t *testing.T) {
		// The kernel removes the address when the lease ends.
		shown := m.ip(t, "-4", "address", "show", "dev", "eth0")
		match := regexp.MustCompile(`valid_lft (\d+)sec preferred_lft (\d+)sec`).FindStringSubmatch(shown)
		if match == nil {
			t.Fatal(shown)
		}
		for _, text := range match[1:] {
			if seconds, err := strconv.Atoi(text); err != nil || seconds > 3600 || seconds < 3500 {
				t.Errorf("the lease is for an hour:\n%s", shown)
			}
		}
	})
	t.Run("bridge", func(t *testing.T) {
		before := m.ip(t, "-4", "route")
		leases(t, peers[1], leaseOf(bridgeAddress, time.Hour, everything(1)...))
		// The host name shows that the new lease has taken effect.
		eventually(t, func() string {
			if got := network(t, m)["eth1"].Hostname; got != "guest-of-net1" {
				return fmt.Sprintf("net.json has the host name %q", got)
			}
			return ""
		})
		if after := m.ip(t, "-4", "route"); after != before {
			t.Errorf("the bridge's server changed the routes from\n%sto\n%s", before, after)
		}
		if n := network(t, m)["eth1"]; len(n.DNS)+len(n.Search)+len(n.Domain)+len(n.Routes) > 0 || n.Gateway.IsValid() {
			t.Errorf("net.json has %+v", n)
		}
		if got := m.read(t, "/etc/resolv.conf"); got != "nameserver 127.0.0.1\n" {
			t.Errorf("/etc/resolv.conf holds %q", got)
		}
	})
	t.Run("option 121 over 3", func(t *testing.T) {
		leases(t, primary, leaseOf(primaryAddress, time.Hour,
			dhcpv4.OptClasslessStaticRoute(route("172.19.0.0/16", "10.9.0.1"), route("172.20.0.0/16", "0.0.0.0"))))
		ipRoutes(t, m, append(slices.Clone(connected), "172.19.0.0/16 via 10.9.0.1 dev eth0 proto dhcp", "172.20.0.0/16 dev eth0 proto dhcp scope link")...)
	})
	t.Run("gateway off the subnet", func(t *testing.T) {
		leases(t, primary, leaseOf(primaryAddress, time.Hour,
			dhcpv4.OptClasslessStaticRoute(route("172.19.0.0/16", "10.9.0.1"), route("0.0.0.0/0", "192.0.2.1"))))
		ipRoutes(t, m, append(append([]string{"default via 192.0.2.1 dev eth0 proto dhcp onlink"}, connected...),
			"172.19.0.0/16 via 10.9.0.1 dev eth0 proto dhcp")...)
		reaches(t, m, beyondPrimary)
	})
	t.Run("one address", func(t *testing.T) {
		leases(t, primary, leaseOf(primaryAddress, time.Hour,
			dhcpv4.OptSubnetMask(net.CIDRMask(32, 32)), dhcpv4.OptRouter(net.IP(gateway.Addr().AsSlice()))))
		ipRoutes(t, m, append([]string{"default via 192.0.2.1 dev eth0 proto dhcp onlink"}, connected[1:]...)...)
		address(t, m, "eth0", "10.9.0.15/32")
		reaches(t, m, beyondPrimary)
	})
	t.Run("MTU", func(t *testing.T) {
		leases(t, primary, leaseOf(primaryAddress, time.Hour, withMTU(1400)))
		eventually(t, func() string {
			if l := link(must[[]probe.Link](t, m, "Links", none{}), "eth0"); l.MTU != 1400 {
				return fmt.Sprintf("eth0 is %+v", l)
			}
			return ""
		})
		eventually(t, func() string {
			if got := network(t, m)["eth0"].MTU; got != 1400 {
				return fmt.Sprintf("net.json has the MTU %d", got)
			}
			return ""
		})
		ipRoutes(t, m, append([]string{"default via 10.9.0.1 dev eth0 proto dhcp"}, connected...)...)
	})
}

// cards are NICs that can be plugged in and out while the guest runs.
type cards []*dhcppeer.Peer

func (c cards) device(i int) string {
	return fmt.Sprintf("virtio-net-pci,id=card%d,bus=hot%d,romfile=,netdev=net%d,mac=%s", i, i, i, macs[i])
}

// boot boots a guest in which only the card of index first is plugged in.
func (c cards) boot(t *testing.T, first int, cmdline ...string) *machine {
	t.Helper()
	var qemu []string
	for i, p := range c {
		qemu = append(qemu, "-device", fmt.Sprintf("pcie-root-port,id=hot%d,chassis=%d,slot=%d", i, i+1, i+1),
			"-netdev", fmt.Sprintf("%s,id=net%d", p.Netdev(), i))
	}
	return boot(t, image{cmdline: append(cmdline, quiet), tools: true, qemu: append(qemu, "-device", c.device(first))})
}

func (c cards) plugIn(t *testing.T, m *machine, i int) {
	t.Helper()
	arguments := map[string]any{}
	for j, a := range strings.Split(c.device(i), ",") {
		if key, value, found := strings.Cut(a, "="); found {
			arguments[key] = value
		} else if j == 0 {
			arguments["driver"] = a
		}
	}
	m.qmp(t, "device_add", arguments)
}

func (c cards) plugOut(t *testing.T, m *machine, i int) {
	t.Helper()
	id := fmt.Sprintf("card%d", i)
	m.qmp(t, "device_del", map[string]any{"id": id})
	eventually(t, func() string {
		// The guest releases the card some time after device_del.
		devices, err := m.QMP(t.Context(), "qom-list", map[string]any{"path": "/machine/peripheral"})
		if err != nil || strings.Contains(string(devices), `"`+id+`"`) {
			return fmt.Sprintf("QEMU still has %s: %s, %v", id, devices, err)
		}
		for name, n := range network(t, m) {
			if n.MAC == macs[i] {
				return fmt.Sprintf("net.json still has %s: %+v", name, n)
			}
		}
		return ""
	})
}

// work checks that the first card is the primary NIC and the second card the bridge
// NIC, whatever their link names.
func (c cards) work(t *testing.T, m *machine) {
	t.Helper()
	for i, p := range c {
		answers(t, &p.Host, leased[i])
	}
	var names map[netd.Role]string
	eventually(t, func() string {
		names = map[netd.Role]string{}
		for name, n := range network(t, m) {
			names[n.Role] = name
			if i := slices.Index(macs, n.MAC); i < 0 || n.State != netd.StateBound || n.Role != []netd.Role{netd.RolePrimary, netd.RoleBridge}[i] {
				return fmt.Sprintf("net.json has %+v", n)
			}
		}
		if len(names) != len(c) {
			return fmt.Sprintf("net.json has the NICs %v", names)
		}
		return ""
	})
	primary, bridge := names[netd.RolePrimary], names[netd.RoleBridge]
	t.Logf("the primary NIC is %s, the bridge %s", primary, bridge)
	defaultRoutes(t, m, probe.Route{Gateway: "10.9.0.1", Link: primary})
	for name, want := range map[string]string{primary: "0\n", bridge: "1\n"} {
		if got := m.read(t, "/proc/sys/net/ipv4/conf/"+name+"/proxy_arp"); got != want {
			t.Errorf("proxy_arp of %s is %q", name, got)
		}
	}
	if got := m.read(t, "/proc/sys/net/ipv4/neigh/"+bridge+"/proxy_delay"); got != "0\n" {
		t.Errorf("proxy_delay of %s is %q", bridge, got)
	}
	testRules(t, m, bridgeRules(bridge)...)
	if rules := m.ruleset(t); strings.Contains(rules, primary) {
		t.Errorf("the firewall is open for %s, the primary NIC:\n%s", primary, rules)
	}
}

// TestNICAppears plugs the bridge NIC in late. Then it plugs both NICs out and in again,
// so that they swap names.
func TestNICAppears(t *testing.T) {
	t.Parallel()
	_, peers := dhcpPeers(t, time.Hour)
	c := cards(peers)
	m := c.boot(t, 0)
	answers(t, &peers[0].Host, leased[0])
	m.waitReport(t)
	t.Run("late", func(t *testing.T) {
		c.plugIn(t, m, 1)
		c.work(t, m)
	})
	for _, order := range [][]int{{1, 0}, {0, 1}} {
		t.Run(fmt.Sprintf("again %v", order), func(t *testing.T) {
			for i := range peers {
				c.plugOut(t, m, i)
			}
			for _, i := range order {
				s := since(peers[i])
				c.plugIn(t, m, i)
				askedAgain(t, s, leased[i]) // so the NIC has its name
			}
			c.work(t, m)
			if name := fmt.Sprintf("eth%d", order[1]); network(t, m)[name].MAC != macs[1] {
				t.Errorf("%s is %+v", name, network(t, m)[name])
			}
		})
	}
	t.Run("again, all of it", func(t *testing.T) {
		c.plugOut(t, m, 0)
		c.plugOut(t, m, 1)
		c.plugIn(t, m, 1)
		answers(t, &peers[1].Host, leased[1])
		before := m.ruleset(t)
		// The roles survive a restart of the daemon, and a second run of uinit.
		must[none](t, m, "Kill", probe.Signal{PID: daemon(t, m), Number: int(syscall.SIGKILL)})
		c.plugIn(t, m, 0)
		answers(t, &peers[0].Host, leased[0])
		if r := m.run(t, arcsetup.ProgramPath); r.Code != 0 {
			t.Errorf("uinit ended with code %d: %s", r.Code, r.Stderr)
		}
		c.work(t, m)
		if after := m.ruleset(t); after != before {
			t.Errorf("before:\n%safter:\n%s", before, after)
		}
	})
}

// TestNamedNICAppears names the primary NIC and plugs it in late. No other NIC may get
// its role.
func TestNamedNICAppears(t *testing.T) {
	t.Parallel()
	_, peers := dhcpPeers(t, time.Hour)
	c := cards(peers)
	m := c.boot(t, 1, "arcbox.primary="+macs[0])
	answers(t, &peers[1].Host, leased[1])
	m.waitReport(t)
	said(t, m, "netd: ", "primary", macs[0], "eth0 ("+macs[1]+")")
	defaultRoutes(t, m)
	if got := network(t, m); len(got) != 1 || got["eth0"].Role != netd.RoleBridge {
		t.Errorf("net.json has %+v", got)
	}
	testRules(t, m, bridgeRules("eth0")...)
	c.plugIn(t, m, 0)
	c.work(t, m)
}

// TestProbe makes the daemon probe addresses. Another host has the primary NIC's
// address. The guest also is an IPv6 router.
func TestProbe(t *testing.T) {
	t.Parallel()
	nics, peers := dhcpPeers(t, time.Hour)
	rival, err := peers[0].Neighbour(leased[0])
	if err != nil {
		t.Fatal(err)
	}
	captures := []capture{newCapture(t, 0), newCapture(t, 1)}
	m := boot(t, image{
		nics: nics, cmdline: []string{quiet}, qemu: append(captures[0].qemu(), captures[1].qemu()...),
		shared: map[string]string{"etc/arcinit.toml": "[network]\nprobe_address = true\nipv6_router = true\nrelease_on_poweroff = true\n"},
	})
	primary := talk{Peer: peers[0]}
	declined := primary.heard(t, dhcppeer.Decline)
	if !declined.RequestedIPAddress().Equal(leased[0].AsSlice()) || !declined.ServerIdentifier().Equal(peers[0].Addr().AsSlice()) ||
		!declined.ClientIPAddr.IsUnspecified() || declined.Unicast {
		t.Errorf("unicast %t: %s", declined.Unicast, declined.Summary())
	}
	answers(t, &peers[1].Host, leased[1])
	if n := captures[1].requests(t, netip.IPv4Unspecified(), leased[1]); n != 3 {
		t.Errorf("%d probes for the address of eth1", n)
	}
	if l := link(must[[]probe.Link](t, m, "Links", none{}), "eth0"); len(l.Addresses) > 0 {
		t.Errorf("eth0 is %+v", l)
	}
	if n := network(t, m)["eth0"]; n.State != netd.StateDiscovering || !strings.Contains(n.Error, "another host has the leased address") {
		t.Errorf("net.json has %+v", n)
	}
	if err := rival.Remove(); err != nil {
		t.Fatal(err)
	}
	answers(t, &peers[0].Host, leased[0])
	state(t, m, "eth0", netd.StateBound)
	next := slices.IndexFunc(primary.Messages(), func(m dhcppeer.Message) bool { return m.Kind == dhcppeer.Discover && m.At.After(declined.At) })
	if next < 0 {
		t.Fatal("no DISCOVER after the DECLINE")
	}
	// RFC 2131 section 3.1, point 5: 10 s. A busy host may receive the DECLINE late,
	// which makes the pause look shorter.
	if pause := primary.Messages()[next].At.Sub(declined.At); pause < 9*time.Second {
		t.Errorf("the next DISCOVER came %v after the DECLINE", pause)
	}
	if n := primary.Count(dhcppeer.Decline); n != 1 {
		t.Errorf("%d DECLINEs", n)
	}
	if n := captures[0].requests(t, netip.IPv4Unspecified(), leased[0]); n < 4 {
		t.Errorf("%d probes for the address of eth0", n)
	}
	if n := captures[1].requests(t, netip.IPv4Unspecified(), leased[1]); n != 3 {
		t.Errorf("eth1 probed again: %d probes", n)
	}
	t.Run("IPv6 router", func(t *testing.T) {
		for key, want := range map[string]string{"all/forwarding": "1\n", "eth0/forwarding": "1\n", "eth0/accept_ra": "2\n", "eth1/accept_ra": "2\n"} {
			if got := m.read(t, "/proc/sys/net/ipv6/conf/"+key); got != want {
				t.Errorf("ipv6 %s is %q, want %q", key, got, want)
			}
		}
	})
	t.Run("reboot", func(t *testing.T) {
		m.tell("Run", probe.Command{Argv: []string{arcsetup.ProgramPath, "reboot"}})
		m.waitEnd(t, "guest-reset")
		for i, p := range peers {
			if n := p.Count(dhcppeer.Release); n != 0 {
				t.Errorf("eth%d: %d RELEASEs", i, n)
			}
			testMessages(t, macs[i], p)
		}
	})
}
