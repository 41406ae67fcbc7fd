package netd

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestWriteTable(t *testing.T) {
	r := Report{NICs: []NIC{
		{Name: "eth0", Role: RolePrimary, State: StateBound, Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.2.15/24")},
			Server: netip.MustParseAddr("10.0.2.2"), Expires: time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC), ConfiguredNS: int64(750 * time.Millisecond)},
		{Name: "eth1", Role: RoleBridge, State: StateDiscovering, Error: "timeout"},
	}}
	var out strings.Builder
	if err := r.WriteTable(&out, 500*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	want := [][]string{
		{"eth0", "primary", "bound", "[10.0.2.15/24]", "10.0.2.2", "15:04:05", "250.00", "ms"},
		{"eth1", "bridge", "discovering", "[]", "timeout"},
	}
	if len(lines) != len(want)+1 {
		t.Fatalf("the table has %d lines, want a head and %d NICs:\n%s", len(lines), len(want), out.String())
	}
	for i, fields := range want {
		if got := strings.Fields(lines[i+1]); !slices.Equal(got, fields) {
			t.Errorf("NIC %d: fields %q, want %q", i, got, fields)
		}
	}
}
