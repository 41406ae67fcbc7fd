package netd

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/maruel/natural"
)

// fakeSys makes a sysfs with links by name. The value is the MAC address, or "virtual"
// for a link without a device.
func fakeSys(t *testing.T, links map[string]string) string {
	t.Helper()
	sys := t.TempDir()
	setLinks(t, sys, links)
	return sys
}

// setLinks replaces the links of a fakeSys.
func setLinks(t *testing.T, sys string, links map[string]string) {
	t.Helper()
	if err := os.RemoveAll(filepath.Join(sys, "class")); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(sys, "class/net"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, mac := range links {
		dir := filepath.Join(sys, "class/net", name)
		if err := os.Mkdir(dir, 0o755); err != nil {
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
}

func TestRoles(t *testing.T) {
	two := map[string]string{"lo": "virtual", "docker0": "virtual", "eth0": "52:54:00:00:00:0a", "eth1": "52:54:00:00:00:0b"}
	ten := map[string]string{"eth10": "52:54:00:00:00:10", "eth2": "52:54:00:00:00:02", "eth9": "52:54:00:00:00:09"}
	address := netip.MustParsePrefix("192.0.2.5/24")
	for _, test := range []struct {
		name            string
		links           map[string]string
		primary, bridge string
		further         []Further
		want            string // name:role of each NIC
		wantErr         string // the NIC that is not found
	}{
		{name: "no NIC", links: map[string]string{"lo": "virtual"}},
		{name: "no NIC but a name", links: map[string]string{"lo": "virtual"}, primary: "eth0", wantErr: `"eth0"`},
		{name: "one NIC", links: map[string]string{"eth0": "52:54:00:00:00:0a"}, want: "eth0:primary"},
		{name: "two NICs", links: two, want: "eth0:primary eth1:bridge"},
		{name: "natural order", links: ten, want: "eth2:primary eth9:bridge"},
		{name: "swapped by name", links: two, primary: "eth1", want: "eth1:primary eth0:bridge"},
		{name: "bridge by name", links: two, bridge: "eth0", want: "eth1:primary eth0:bridge"},
		{name: "by MAC", links: ten, primary: "52:54:00:00:00:10", want: "eth10:primary eth2:bridge"},
		{name: "by upper-case MAC", links: two, bridge: "52:54:00:00:00:0A", want: "eth1:primary eth0:bridge"},
		{name: "only bridge named and one NIC", links: map[string]string{"eth0": "52:54:00:00:00:0a"}, bridge: "eth0", want: "eth0:bridge"},
		{name: "unknown primary", links: two, primary: "wlan0", want: "eth0:bridge", wantErr: `"wlan0"`},
		{name: "virtual primary", links: two, primary: "docker0", want: "eth0:bridge", wantErr: `"docker0"`},
		{name: "unknown bridge", links: two, bridge: "52:54:00:00:00:ff", want: "eth0:primary", wantErr: `"52:54:00:00:00:ff"`},
		{name: "same NIC twice", links: two, primary: "eth1", bridge: "eth1", want: "eth1:primary", wantErr: `"eth1"`},
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
			further: []Further{{NIC: "eth0", Role: RoleDHCP}}, wantErr: `"eth0"`,
		},
		{
			name: "further NIC that is not there", links: two, want: "eth0:primary eth1:bridge",
			further: []Further{{NIC: "eth7", Role: RoleDHCP}}, wantErr: `"eth7"`,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			found, err := Roles{Primary: test.primary, Bridge: test.bridge, Further: test.further}.slots().assign(fakeSys(t, test.links))
			for _, a := range found {
				if (a.Role == RoleStatic) != (a.Address == address) {
					t.Errorf("%s (%s) has the address %v", a.Name, a.Role, a.Address)
				}
			}
			if got := inWords(found); got != test.want {
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

func inWords(found []assignment) string {
	var words []string
	for _, a := range found {
		words = append(words, a.Name+":"+string(a.Role))
	}
	return strings.Join(words, " ")
}

// TestRolesAreKept removes NICs and adds them again, also with other names.
func TestRolesAreKept(t *testing.T) {
	const a, b, c = "52:54:00:00:00:0a", "52:54:00:00:00:0b", "52:54:00:00:00:0c"
	type links map[string]string
	type step struct {
		links links
		want  string
	}
	for _, test := range []struct {
		name  string
		roles Roles
		steps []step
	}{
		{"the first two", Roles{}, []step{
			{links{}, ""},
			{links{"eth0": a, "eth1": b}, "eth0:primary eth1:bridge"},
			{links{"eth1": b}, "eth1:bridge"},
			{links{"eth1": b, "eth2": c}, "eth1:bridge"},
			{links{}, ""},
			{links{"eth0": b}, "eth0:bridge"},
			{links{"eth0": b, "eth1": a}, "eth1:primary eth0:bridge"},
			{links{"eth0": b, "eth1": c}, "eth1:primary eth0:bridge"}, // c replaces a
			{links{"eth0": b, "eth1": c, "eth2": a}, "eth1:primary eth0:bridge"},
			{links{"eth0": c, "eth1": b}, "eth0:primary eth1:bridge"},
		}},
		{"without MAC addresses", Roles{}, []step{
			{links{"eth0": "", "eth1": "00:00:00:00:00:00"}, "eth0:primary eth1:bridge"},
			{links{"eth1": ""}, "eth1:bridge"},
			{links{"eth0": "", "eth1": ""}, "eth0:primary eth1:bridge"},
		}},
		{"the same MAC address twice", Roles{}, []step{
			{links{"eth0": a, "eth1": a}, "eth0:primary eth1:bridge"},
			{links{"eth0": a, "eth1": a}, "eth0:primary eth1:bridge"},
		}},
		{"named by MAC address", Roles{Primary: strings.ToUpper(a), Bridge: b}, []step{
			{links{"eth0": c}, ""},
			{links{"eth0": c, "eth1": a}, "eth1:primary"},
			{links{"eth0": b, "eth1": a}, "eth1:primary eth0:bridge"},
			{links{"eth0": b, "eth1": c}, "eth0:bridge"},
		}},
		{"primary named by link", Roles{Primary: "eth1"}, []step{
			{links{"eth0": b}, "eth0:bridge"},
			{links{"eth0": b, "eth1": a}, "eth1:primary eth0:bridge"},
			{links{"eth0": a, "eth1": b}, "eth0:primary eth1:bridge"},
		}},
		{"further", Roles{Further: []Further{{NIC: "eth0", Role: RoleOff}, {NIC: "eth1", Role: RoleDHCP}}}, []step{
			{links{"eth0": a, "eth1": b}, "eth0:off eth1:dhcp"},
			{links{"eth0": b, "eth1": a}, "eth1:off eth0:dhcp"},
			{links{"eth0": b, "eth1": c}, "eth1:off eth0:dhcp"},
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			sys, slots := t.TempDir(), test.roles.slots()
			for i, step := range test.steps {
				setLinks(t, sys, step.links)
				found, _ := slots.assign(sys)
				if got := inWords(found); got != step.want {
					t.Fatalf("%d: of %v, got %q, want %q", i, step.links, got, step.want)
				}
			}
		})
	}
}

// TestRolesAreRestored restarts the daemon after NICs have swapped their names.
func TestRolesAreRestored(t *testing.T) {
	const a, b = "52:54:00:00:00:0a", "52:54:00:00:00:0b"
	before := Report{NICs: []NIC{{Role: RolePrimary, Name: "eth1", MAC: a}, {Role: RoleBridge, Name: "eth0", MAC: b}}}
	sys := fakeSys(t, map[string]string{"eth0": b, "eth1": a})
	slots := Roles{}.slots()
	slots.restore(before)
	if found, _ := slots.assign(sys); inWords(found) != "eth1:primary eth0:bridge" {
		t.Errorf("got %q", inWords(found))
	}
}

func TestRolesWithoutSysfs(t *testing.T) {
	if got, err := (Roles{}).slots().assign(t.TempDir()); err != nil || got != nil {
		t.Errorf("got %+v, %v, want no NICs", got, err)
	}
}

func TestNaturalOrder(t *testing.T) {
	want := []string{"enp0s2", "enp0s10", "enp1s1", "eth", "eth0", "eth00", "eth1", "eth2", "eth10", "eth10a", "eth18446744073709551616", "wlan0"}
	got := slices.Clone(want)
	slices.Reverse(got)
	slices.SortFunc(got, natural.Compare)
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
