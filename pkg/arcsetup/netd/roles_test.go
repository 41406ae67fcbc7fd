package netd

import (
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
	for _, test := range []struct {
		name            string
		links           map[string]string
		primary, bridge string
		want            Roles
		wantErr         string
	}{
		{name: "no NIC", links: map[string]string{"lo": "virtual"}},
		{name: "no NIC but a name", links: map[string]string{"lo": "virtual"}, primary: "eth0", wantErr: `primary NIC "eth0": not found, there is no NIC`},
		{name: "one NIC", links: map[string]string{"eth0": "52:54:00:00:00:0a"}, want: Roles{Primary: "eth0"}},
		{name: "two NICs", links: two, want: Roles{"eth0", "eth1"}},
		{name: "natural order", links: ten, want: Roles{"eth2", "eth9"}},
		{name: "swapped by name", links: two, primary: "eth1", want: Roles{"eth1", "eth0"}},
		{name: "bridge by name", links: two, bridge: "eth0", want: Roles{"eth1", "eth0"}},
		{name: "by MAC", links: ten, primary: "52:54:00:00:00:10", want: Roles{"eth10", "eth2"}},
		{name: "by upper-case MAC", links: two, bridge: "52:54:00:00:00:0A", want: Roles{"eth1", "eth0"}},
		{name: "only bridge named and one NIC", links: map[string]string{"eth0": "52:54:00:00:00:0a"}, bridge: "eth0", want: Roles{Bridge: "eth0"}},
		{name: "unknown primary", links: two, primary: "wlan0", want: Roles{"eth0", "eth1"}, wantErr: `primary NIC "wlan0": not found, there are eth0 (52:54:00:00:00:0a), eth1`},
		{name: "virtual primary", links: two, primary: "docker0", want: Roles{"eth0", "eth1"}, wantErr: `"docker0"`},
		{name: "unknown bridge", links: two, bridge: "52:54:00:00:00:ff", want: Roles{"eth0", "eth1"}, wantErr: `bridge NIC "52:54:00:00:00:ff"`},
		{name: "same NIC twice", links: two, primary: "eth1", bridge: "eth1", want: Roles{"eth1", "eth0"}, wantErr: "is the primary one"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := FindRoles(fakeSys(t, test.links), test.primary, test.bridge)
			if got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
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
	if got, err := FindRoles(t.TempDir(), "", ""); err == nil || got != (Roles{}) {
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
