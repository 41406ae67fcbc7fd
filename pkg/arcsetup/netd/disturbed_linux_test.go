//go:build guesttest

package netd

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/vishvananda/netlink"
)

const leasedDefault = "default via 10.0.2.2 dev eth0 proto dhcp"

// TestDisturbed has somebody change what the daemon configured, in every way that
// it undoes. The leases are renewed long after.
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
	r := startDaemon(t, Config{}, 10) // which mends ten times a second at most
	eventually(t, "primary", r.bound(t, RolePrimary, "10.0.2.15/24"))
	eventually(t, "bridge", r.bound(t, RoleBridge, "192.168.64.7/24"))
	state := func() string {
		return ip(t, "route") + "\n" + strings.Join(strings.Fields(ip(t, "-br", "-4", "addr")), " ")
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
		"route add default via 10.0.2.9 metric 7",
		"route add default via 192.168.64.1 dev eth1 metric 9",
		"route add default metric 7 nexthop via 10.0.2.9 nexthop via 192.168.64.1",
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
	for text, n := range map[string]int{"took the address 10.0.2.15/24 away": 1, "took the address 192.168.64.7/24 away": 1} {
		if got := r.logged.count(text); got != n {
			t.Errorf("logged %d times: %q", got, text)
		}
	}
	// What is none of the daemon's business stays.
	for _, change := range []string{"addr add 203.0.113.9/32 dev eth0", "route add 10.8.0.0/16 via 10.0.2.9", "route add default via 10.0.2.9 table 77"} {
		ip(t, strings.Fields(change)...)
	}
	ip(t, "route", "del", "default")
	eventually(t, "the default route again", func() bool { return ip(t, "route", "show", "default") == leasedDefault })
	if got := state() + ip(t, "route", "show", "table", "77"); !strings.Contains(got, "203.0.113.9/32") || !strings.Contains(got, "10.8.0.0/16") || !strings.Contains(got, "default via 10.0.2.9 dev eth0") {
		t.Errorf("in the end:\n%s", got)
	}
	must(t, r.end())
}

// TestStaticDisturbed takes the address of a static NIC away.
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

// TestFight has somebody take the address away whenever it comes back.
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
	// Once a second, and at once the first time.
	if most := int(length/time.Second) + 1; times < 2 || times > most {
		t.Errorf("the address came back %d times in %v, want 2 to %d", times, length, most)
	}
	eventually(t, "the address in the end", func() bool { return strings.Contains(ip(t, "-br", "addr", "show", "eth0"), "10.0.2.15/24") })
	if n := r.logged.count("took the address"); n != 1 {
		t.Errorf("logged %d times", n)
	}
	must(t, r.end())
}

// TestMessagesLost has more messages come, while the daemon is busy, than the kernel
// keeps for it.
func TestMessagesLost(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	far := newNamespace(t)
	addNIC(t, far, "eth0", "10.0.2.1/24")
	serve(t, far, "eth0", granting(t, "10.0.2.15"))
	busy, done := make(chan struct{}), make(chan struct{})
	r := startDaemon(t, Config{NewBridge: func(string, string) error { close(busy); <-done; return nil }}, 1)
	eventually(t, "primary", r.bound(t, RolePrimary, "10.0.2.15/24"))
	addNIC(t, far, "eth1", "192.168.64.1/24")
	<-busy
	var lines strings.Builder
	lines.WriteString("link set lo up\n")
	for i := range 3000 {
		fmt.Fprintf(&lines, "route add 100.64.%d.%d dev lo\n", i/256, i%256)
	}
	lines.WriteString("addr del 10.0.2.15/24 dev eth0\nlink del eth1\n")
	batch := ipCommand("-batch", "-")
	batch.Stdin = strings.NewReader(lines.String())
	if out, err := batch.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	close(done)
	eventually(t, "the address again", func() bool { return strings.Contains(ip(t, "-br", "-4", "addr", "show", "eth0"), "10.0.2.15/24") })
	eventually(t, "the bridge gone", func() bool { return r.logged.count("NIC is gone") > 0 && r.nic(t, RoleBridge).Name == "" })
	if r.logged.count("messages of the kernel were lost") == 0 {
		t.Error("no message was lost")
	}
	must(t, r.end())
}
