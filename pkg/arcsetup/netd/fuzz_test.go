package netd

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// FuzzReadReport has the daemon start after a run that left anything.
func FuzzReadReport(f *testing.F) {
	f.Add([]byte(`{"nics":[{"role":"primary","name":"eth0","mac":"52:54:00:00:00:01","obtained":"2026-01-01T00:00:00Z","addresses":["10.0.2.15/24"]}]}`))
	f.Add([]byte(`{"nics":[{"mac":"52:54:00:00:00:01","obtained":"2026-01-01T00:00:00Z","addresses":["fe80::1/64"]}]}`))
	f.Add([]byte(`{"nics":[{"mac":"52:54:00:00:00:01","obtained":"2026-01-01T00:00:00Z","addresses":["127.0.0.1/0"]}]}`))
	f.Add([]byte(`{"nics":[{"mac":"52:54:00:00:00:01","obtained":"2026-01-01T00:00:00Z","addresses":[""]},null,3]}`))
	f.Add([]byte(`{"nics":null}`))
	f.Add([]byte("\x00"))
	path := filepath.Join(f.TempDir(), "net.json")
	f.Fuzz(func(t *testing.T, text []byte) {
		if err := os.WriteFile(path, text, 0o644); err != nil {
			t.Fatal(err)
		}
		r, err := ReadReport(path)
		if err != nil && len(r.NICs) > 0 {
			t.Errorf("an unreadable report has NICs: %+v", r)
		}
		const mac = "52:54:00:00:00:01"
		if p := r.leased(mac, time.Unix(1e9, 0)); p.IsValid() && (!p.Addr().Is4() || !isUnicast(p.Addr()) || p.Bits() < minPrefix) {
			t.Errorf("the address leased before is %s", p)
		}
		r.NICs = append(r.NICs, NIC{Role: RoleBridge, Name: "eth1", MAC: "m1"})
		if r.sort(); r.withRole(RoleBridge).Name == "" {
			t.Error("the added bridge NIC is missing")
		}
		r.forget("m1")
		if slices.ContainsFunc(r.NICs, func(n NIC) bool { return n.MAC == "m1" }) {
			t.Error("the forgotten NIC is there")
		}
	})
}

// FuzzRoles has NICs and roles of any names; links are separated by spaces.
func FuzzRoles(f *testing.F) {
	f.Add("eth0 eth1 eth10 lo", "eth1", "", "eth2", "eth0")
	f.Add("eth0 eth00 eth0x1", "52:54:00:00:00:01", "eth0", "eth0", "eth0")
	f.Add("a1 a01 a001", "a1", "a1", "", "")
	f.Fuzz(func(t *testing.T, links, primary, bridge, further, off string) {
		sys := t.TempDir()
		there := make(map[string]bool)
		for i, name := range strings.Fields(links) {
			dir := filepath.Join(sys, "class/net", name)
			if filepath.Dir(dir) != filepath.Join(sys, "class/net") || strings.Contains(name, "/") || os.MkdirAll(filepath.Join(dir, "device"), 0o755) != nil {
				continue // no link can have that name
			}
			mac := net.HardwareAddr{0x52, 0x54, 0, 0, 0, byte(i)}
			if err := os.WriteFile(filepath.Join(dir, "address"), []byte(mac.String()+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			there[name] = true
		}
		slots := Roles{Primary: primary, Bridge: bridge, Further: []Further{
			{NIC: further, Role: RoleDHCP}, {NIC: off, Role: RoleOff},
		}}.slots()
		found, _ := slots.assign(sys)
		has, names := make(map[Role]int), make(map[string]bool)
		for _, a := range found {
			if !there[a.Name] || names[a.Name] {
				t.Errorf("%+v is not there, or there twice, in %+v", a, found)
			}
			names[a.Name] = true
			has[a.Role]++
		}
		// A NIC is free only where both roles are taken, or kept for another.
		lacks := func(r Role, name string) bool { return name == "" && has[r] == 0 }
		if has[RolePrimary] > 1 || has[RoleBridge] > 1 || len(there) > len(found) && (lacks(RolePrimary, primary) || lacks(RoleBridge, bridge)) {
			t.Errorf("of %v: %+v", there, found)
		}
		if again, _ := slots.assign(sys); !slices.Equal(again, found) {
			t.Errorf("of %v: %+v, and then %+v", there, found, again)
		}
	})
}
