package netd

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"
)

// A report that was written and read again has its NICs in the order of the roles, and
// tells the next Run the leased addresses.
func TestReport(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	address := netip.MustParsePrefix("10.0.2.15/24")
	r := Report{NICs: []NIC{
		{Role: RoleStatic, Name: "eth10", MAC: "m10", State: StateStatic, Addresses: []netip.Prefix{address}},
		{Role: RoleStatic, Name: "eth9", MAC: "m9", State: StateStatic},
		{Role: RoleBridge, Name: "eth1", MAC: "m1", State: StateDiscovering},
		{
			Role: RolePrimary, Name: "eth2", MAC: "m2", State: StateBound, Addresses: []netip.Prefix{address},
			Routes: []Route{{Dst: netip.MustParsePrefix("0.0.0.0/0"), Gateway: netip.MustParseAddr("10.0.2.1")}},
			Search: []string{"example.org"}, Obtained: now, Expires: now.Add(time.Hour),
		},
	}}
	r.sort()
	data, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "net.json")
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	got, err := ReadReport(path)
	if err != nil || !reflect.DeepEqual(got, r) {
		t.Fatalf("read %+v, %v, want %+v", got, err, r)
	}
	var names []string
	for _, n := range got.NICs {
		names = append(names, n.Name)
	}
	if want := []string{"eth2", "eth1", "eth9", "eth10"}; !reflect.DeepEqual(names, want) {
		t.Errorf("order %v, want %v", names, want)
	}
	for mac, want := range map[string]netip.Prefix{"m2": address, "m1": {}, "m10": {}, "": {}} {
		if got := got.leased(mac, now.Add(time.Minute)); got != want {
			t.Errorf("%s had leased %v, want %v", mac, got, want)
		}
	}
	if got := got.leased("m2", now.Add(time.Hour)); got.IsValid() {
		t.Errorf("a lease that is over: %v", got)
	}
	if n := got.withRole(RoleBridge); n.Name != "eth1" {
		t.Error("the bridge NIC is another one")
	}
}
