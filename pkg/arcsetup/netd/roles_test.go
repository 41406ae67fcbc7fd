package netd

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// fakeSys makes a sysfs whose links have a device and the MAC address given; a
// link with the address "virtual" has no device.
func fakeSys(t *testing.T, links map[string]string) string {
	t.Helper()
	sys := t.TempDir()
	for name, mac := range links {
		dir := filepath.Join(sys, "class/net", name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if mac == "virtual" {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, "address"), []byte(mac+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("../../../virtio0", filepath.Join(dir, "device")); err != nil {
			t.Fatal(err)
		}
	}
	return sys
}

func TestFindRoles(t *testing.T) {
	two := map[string]string{"lo": "virtual", "docker0": "virtual", "eth0": "52:54:00:00:00:0a", "eth1": "52:54:00:00:00:0b"}
	ten := map[string]string{"eth10": "52:54:00:00:00:10", "eth2": "52:54:00:00:00:02", "eth9": "52:54:00:00:00:09"}
	address := netip.MustParsePrefix("192.0.2.5/24")
	for _, test := range []struct {
		name            string
		links           map[string]string
		primary, bridge string
		further         []Further
		want            string // name:role of each
		wantErr         string
	}{
		{name: "no NIC", links: map[string]string{"lo": "virtual"}},
		{name: "no NIC but a name", links: map[string]string{"lo": "virtual"}, primary: "eth0", wantErr: `primary NIC "eth0": not found, there is no NIC`},
		{name: "one NIC", links: map[string]string{"eth0": "52:54:00:00:00:0a"}, want: "eth0:primary"},
		{name: "two NICs", links: two, want: "eth0:primary eth1:bridge"},
		{name: "natural order", links: ten, want: "eth2:primary eth9:bridge"},
		{name: "swapped by name", links: two, primary: "eth1", want: "eth1:primary eth0:bridge"},
		{name: "bridge by name", links: two, bridge: "eth0", want: "eth1:primary eth0:bridge"},
		{name: "by MAC", links: ten, primary: "52:54:00:00:00:10", want: "eth10:primary eth2:bridge"},
		{name: "by upper-case MAC", links: two, bridge: "52:54:00:00:00:0A", want: "eth1:primary eth0:bridge"},
		{name: "only bridge named and one NIC", links: map[string]string{"eth0": "52:54:00:00:00:0a"}, bridge: "eth0", want: "eth0:bridge"},
		{name: "unknown primary", links: two, primary: "wlan0", want: "eth0:primary eth1:bridge", wantErr: `primary NIC "wlan0": not found, there are eth0 (52:54:00:00:00:0a), eth1`},
		{name: "virtual primary", links: two, primary: "docker0", want: "eth0:primary eth1:bridge", wantErr: `"docker0"`},
		{name: "unknown bridge", links: two, bridge: "52:54:00:00:00:ff", want: "eth0:primary eth1:bridge", wantErr: `bridge NIC "52:54:00:00:00:ff"`},
		{name: "same NIC twice", links: two, primary: "eth1", bridge: "eth1", want: "eth1:primary eth0:bridge", wantErr: `bridge NIC "eth1": eth1 has a role already`},
		{
			name: "further", links: ten, want: "eth10:primary eth9:static eth2:off",
			further: []Further{{NIC: "eth9", Role: RoleStatic, Address: address}, {NIC: "52:54:00:00:00:02", Role: RoleOff}},
		},
		{
			name: "further, and no NIC left for the bridge", links: two, want: "eth1:primary eth0:dhcp",
			further: []Further{{NIC: "eth0", Role: RoleDHCP}},
		},
		{
			name: "further NIC that is the primary one", links: two, primary: "eth0", want: "eth0:primary eth1:bridge",
			further: []Further{{NIC: "eth0", Role: RoleDHCP}}, wantErr: `dhcp NIC "eth0": eth0 has a role already`,
		},
		{
			name: "further NIC that is not there", links: two, want: "eth0:primary eth1:bridge",
			further: []Further{{NIC: "eth7", Role: RoleDHCP}}, wantErr: `dhcp NIC "eth7": not found`,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			found, err := FindRoles(fakeSys(t, test.links), Roles{Primary: test.primary, Bridge: test.bridge, Further: test.further})
			var got []string
			for _, a := range found {
				got = append(got, a.Name+":"+string(a.Role))
				if (a.Role == RoleStatic) != (a.Address == address) {
					t.Errorf("%s has the address %v", a.Name, a.Address)
				}
			}
			if strings.Join(got, " ") != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
			if test.wantErr == "" && err != nil {
				t.Errorf("error %v", err)
			}
			if test.wantErr != "" && (err == nil || !strings.Contains(err.Error(), test.wantErr)) {
				t.Errorf("error %v, want %q in it", err, test.wantErr)
			}
		})
	}
}

func TestFindRolesWithoutSysfs(t *testing.T) {
	if got, err := FindRoles(t.TempDir(), Roles{}); err == nil || got != nil {
		t.Errorf("got %+v, %v, want an error", got, err)
	}
}

func TestCompareNatural(t *testing.T) {
	want := []string{"enp0s2", "enp0s10", "enp1s1", "eth", "eth0", "eth00", "eth1", "eth2", "eth10", "eth10a", "eth18446744073709551616", "wlan0"}
	got := slices.Clone(want)
	slices.Reverse(got)
	slices.SortFunc(got, compareNatural)
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
