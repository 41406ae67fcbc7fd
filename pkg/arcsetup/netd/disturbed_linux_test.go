//go:build guesttest

package netd

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/arcinit/arcinit/pkg/arcsetup/netd/firewall"
	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/vishvananda/netlink"
)

const leasedDefault = "default via 10.0.2.2 dev eth0 proto dhcp"

// TestDisturbed makes each kind of change that the daemon undoes. The leases are not
// renewed meanwhile.
func TestDisturbed(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	far := newNamespace(t)
	addNIC(t, far, "eth0", "10.0.2.1/24")
	addNIC(t, far, "eth1", "192.168.64.1/24")
	serve(t, far, "eth0", granting(t, "10.0.2.15",
		raw(dhcpv4.OptionClasslessStaticRoute, 0, 10, 0, 2, 2, 24, 198, 51, 100, 10, 0, 2, 3)))
	serve(t, far, "eth1", granting(t, "192.168.64.7"))
	r := startDaemon(t, Config{}, 10) // so it restores at most ten times a second
	eventually(t, "primary", r.bound(t, RolePrimary, "10.0.2.15/24"))
	eventually(t, "bridge", r.bound(t, RoleBridge, "192.168.64.7/24"))
	state := func() string {
		return ip(t, "route") + "\n" + addresses(t)
	}
	want := state()
	if !strings.HasPrefix(want, leasedDefault+" \n") {
		t.Fatalf("at first:\n%s", want)
	}
	obtained := r.nic(t, RolePrimary).Obtained
	for _, change := range []string{
		"addr del 10.0.2.15/24 dev eth0",
		"addr flush dev eth1",
		"route del default",
		"route del 198.51.100.0/24",
		"route replace 198.51.100.0/24 via 10.0.2.4",
		"route replace default via 10.0.2.9",
		"route flush dev eth0 proto dhcp",
	} {
		before := state()
		ip(t, strings.Fields(change)...)
		eventually(t, "undone: "+change, func() bool { return state() == want })
		if before != want {
			t.Errorf("before %s:\n%s", change, before)
		}
	}
	if lifetime := ip(t, "-4", "addr", "show", "eth0"); strings.Contains(lifetime, "forever") {
		t.Errorf("the address came back without the lease's end:\n%s", lifetime)
	}
	if !r.nic(t, RolePrimary).Obtained.Equal(obtained) {
		t.Error("the lease was renewed meanwhile")
	}
	for _, address := range []string{"10.0.2.15/24", "192.168.64.7/24"} {
		if n := r.logged.warnings(address); n != 1 {
			t.Errorf("%d warnings that %s was removed, want one", n, address)
		}
	}
	// Other programs' addresses and routes stay.
	for _, change := range []string{"addr add 203.0.113.9/32 dev eth0", "route add 10.8.0.0/16 via 10.0.2.9", "route add default via 10.0.2.9 table 77",
		"route add default via 10.0.2.9 metric 7", "route add default via 192.168.64.1 dev eth1 metric 9"} {
		ip(t, strings.Fields(change)...)
	}
	ip(t, "route", "del", "default")
	eventually(t, "the default route again", func() bool {
		got := ip(t, "route", "show", "default")
		return strings.HasPrefix(got, leasedDefault) && strings.Count(got, "metric") == 2
	})
	if got := state() + ip(t, "route", "show", "table", "77"); !strings.Contains(got, "203.0.113.9/32") || !strings.Contains(got, "10.8.0.0/16") || !strings.Contains(got, "default via 10.0.2.9 dev eth0") {
		t.Errorf("in the end:\n%s", got)
	}
	must(t, r.end())
}

// TestStaticDisturbed removes the address of a static NIC.
func TestStaticDisturbed(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	addNIC(t, newNamespace(t), "eth0", "10.0.2.1/24")
	address := netip.MustParsePrefix("10.0.2.77/24")
	r := startDaemon(t, Config{Roles: Roles{Further: []Further{{NIC: "eth0", Role: RoleStatic, Address: address}}}}, 10)
	for range 3 {
		eventually(t, "the address", func() bool { return strings.Contains(ip(t, "-br", "addr", "show", "eth0"), address.String()) })
		ip(t, "addr", "flush", "dev", "eth0")
	}
	must(t, r.end())
}

// TestFight removes the address whenever it comes back.
func TestFight(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	far := newNamespace(t)
	addNIC(t, far, "eth0", "10.0.2.1/24")
	serve(t, far, "eth0", granting(t, "10.0.2.15"))
	r := startDaemon(t, Config{}, 1)
	eventually(t, "bound", r.bound(t, RolePrimary, "10.0.2.15/24"))
	link, err := netlink.LinkByName("eth0")
	must(t, err)
	came := make(chan netlink.AddrUpdate)
	must(t, netlink.AddrSubscribe(came, t.Context().Done()))
	must(t, kernel{&netlink.Handle{}}.removeAddress(link, netip.MustParsePrefix("10.0.2.15/24")))
	const length = 3 * time.Second
	times := 0
	for end := time.After(length); end != nil; {
		select {
		case u := <-came:
			if u.NewAddr && u.LinkAddress.IP.To4() != nil {
				times++
				must(t, kernel{&netlink.Handle{}}.removeAddress(link, netip.MustParsePrefix("10.0.2.15/24")))
			}
		case <-end:
			end = nil
		}
	}
	// Once a second, and the first time at once.
	if most := int(length/time.Second) + 1; times < 2 || times > most {
		t.Errorf("the address came back %d times in %v, want 2 to %d", times, length, most)
	}
	eventually(t, "the address in the end", func() bool { return strings.Contains(ip(t, "-br", "addr", "show", "eth0"), "10.0.2.15/24") })
	if n := r.logged.warnings("10.0.2.15/24"); n != 1 {
		t.Errorf("%d warnings that the address was removed, want one", n)
	}
	must(t, r.end())
}

// TestMessagesLost makes the kernel lose messages while the daemon is busy, and again
// while the daemon looks for what it missed.
func TestMessagesLost(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	far := newNamespace(t)
	addNIC(t, far, "eth0", "10.0.2.1/24")
	serve(t, far, "eth0", granting(t, "10.0.2.15"))
	busy, times := make(chan chan struct{}), 0
	r := startDaemon(t, Config{}, 1, func(d *daemon) {
		d.applyRules = func([]firewall.Rule, []firewall.Rule) error {
			if _, err := net.InterfaceByName("eth1"); err == nil && times < 2 {
				times++
				done := make(chan struct{})
				busy <- done
				<-done
			}
			return nil
		}
	})
	eventually(t, "primary", r.bound(t, RolePrimary, "10.0.2.15/24"))
	addNIC(t, far, "eth1", "192.168.64.1/24")
	done := <-busy
	batch(t, "link set lo up", manyRoutes("add"), "link del eth1")
	addNIC(t, far, "eth1", "192.168.64.1/24")
	close(done)
	done = <-busy
	if r.logged.count("messages were lost") == 0 {
		t.Error("no message was lost")
	}
	batch(t, manyRoutes("del"), "addr del 10.0.2.15/24 dev eth0", "link del eth1")
	close(done)
	eventually(t, "the address again", func() bool { return strings.Contains(ip(t, "-br", "-4", "addr", "show", "eth0"), "10.0.2.15/24") })
	eventually(t, "the bridge gone", func() bool { return r.logged.count("NIC is gone") > 0 && r.nic(t, RoleBridge).Name == "" })
	must(t, r.end())
}

// manyRoutes returns ip commands that overflow a subscriber's queue.
func manyRoutes(command string) string {
	var lines strings.Builder
	for i := range 3000 {
		fmt.Fprintf(&lines, "route %s 100.64.%d.%d dev lo\n", command, i/256, i%256)
	}
	return lines.String()
}

// batch runs lines of commands with the real ip.
func batch(t *testing.T, lines ...string) {
	t.Helper()
	cmd := ipCommand("-batch", "-")
	cmd.Stdin = strings.NewReader(strings.Join(lines, "\n"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// TestChangesMeanwhile gives a NIC its address while addresses of another link come
// and go, as with a container engine. Lists must be complete even so.
func TestChangesMeanwhile(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	addNIC(t, newNamespace(t), "eth0", "10.0.2.1/24")
	link, err := netlink.LinkByName("eth0")
	must(t, err)
	must(t, netlink.LinkSetUp(link))
	// So many addresses that the kernel lists them in several parts. Linux 6.12 sends
	// a short list in one part, which no change interrupts.
	other, err := netlink.LinkByName("lo")
	must(t, err)
	for i := range 600 {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)}), 32)
		must(t, netlink.AddrAdd(other, &netlink.Addr{IPNet: ipNet(p)}))
	}
	changed := make(chan struct{}, 1)
	end, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		k := kernel{&netlink.Handle{}}
		var err error
		for p := netip.MustParsePrefix("192.0.2.1/32"); err == nil; {
			if err = k.AddrReplace(other, &netlink.Addr{IPNet: ipNet(p)}); err == nil {
				err = k.removeAddress(other, p)
			}
			signal(changed)
			select {
			case <-end:
				ended <- err
				return
			default:
			}
		}
		ended <- err
	}()
	k := kernel{&netlink.Handle{}}
	select {
	case <-changed:
	case err := <-ended:
		t.Fatal(err)
	}
	interrupted := 0
	for deadline, n := time.Now().Add(time.Minute), 0; n < 10 || interrupted == 0 && time.Now().Before(deadline); n++ {
		if _, err := k.AddrList(link, netlink.FAMILY_V4); errors.Is(err, netlink.ErrDumpInterrupted) {
			interrupted++
		}
		must(t, k.setAddress(link, netip.MustParsePrefix("10.0.2.15/24"), 0, netip.Prefix{}))
		have, err := k.addresses(link)
		if err != nil || !slices.ContainsFunc(have, func(a netlink.Addr) bool { return prefix(a.IPNet) == netip.MustParsePrefix("10.0.2.15/24") }) {
			t.Fatalf("the addresses are %v, %v", have, err)
		}
	}
	close(end)
	must(t, <-ended)
	if interrupted == 0 {
		t.Error("no list was interrupted")
	}
	t.Logf("%d lists were interrupted", interrupted)
}
