package netd

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Role is what a NIC is for.
type Role string

const (
	// RolePrimary is the NIC that the guest's own traffic leaves by: it has
	// the one default route.
	RolePrimary Role = "primary"
	// RoleBridge is the NIC on which the host reaches containers: it has an
	// address, no route but the connected one, and answers ARP for them.
	RoleBridge Role = "bridge"
	// RoleDHCP is a further NIC with a lease, whose routes it has but for a
	// default one: that is the primary's.
	RoleDHCP Role = "dhcp"
	// RoleDHCPNoRoute is a further NIC with the address of a lease, no more.
	RoleDHCPNoRoute Role = "dhcp-no-route"
	// RoleStatic is a further NIC with an address that the host has chosen.
	RoleStatic Role = "static"
	// RoleOff is a NIC that is not to be used: it is down.
	RoleOff Role = "off"
)

// takesRoutes says whether a NIC of that role has the routes of its lease, and
// takesDefault whether the default one is among them.
func (r Role) takesRoutes() bool  { return r == RolePrimary || r == RoleDHCP }
func (r Role) takesDefault() bool { return r == RolePrimary }

// Roles is what the host says of the NICs' roles. Each is named by link name or
// by MAC address, in upper or lower case.
type Roles struct {
	// Primary and Bridge name a NIC each; empty leaves the choice to the order
	// of the NICs.
	Primary string `json:"primary,omitempty"`
	Bridge  string `json:"bridge,omitempty"`
	// Further are the roles of other NICs.
	Further []Further `json:"nics,omitempty"`
}

// Further is the role of a NIC that is neither primary nor bridge.
type Further struct {
	NIC  string `json:"nic"`
	Role Role   `json:"role"`
	// Address is that of RoleStatic, with the length of its subnet's prefix.
	Address netip.Prefix `json:"address,omitzero"`
}

// Assignment is the role of a NIC that is there, by its link name.
type Assignment struct {
	Name    string
	Role    Role
	Address netip.Prefix // of RoleStatic
}

// FindRoles gives the NICs in the sysfs mounted at sys their roles. A NIC is a
// link with a device behind it. Where the primary or bridge one is not named, or
// no NIC has that name, it is the first NIC without a role, eth2 before eth10.
// The assignments, primary and bridge first, can be used even where the error,
// which says what was not found and what there is, is not nil.
func FindRoles(sys string, want Roles) ([]Assignment, error) {
	nics, err := listNICs(filepath.Join(sys, "class/net"))
	if err != nil {
		return nil, fmt.Errorf("find NICs: %w", err)
	}
	var found, further []Assignment
	var errs []error
	taken := func(name string) bool {
		return slices.ContainsFunc(slices.Concat(found, further), func(a Assignment) bool { return a.Name == name })
	}
	// Those that are named come first, lest one is taken for lack of a name.
	named := func(list *[]Assignment, role Role, name string, address netip.Prefix) {
		link, err := findNamed(nics, role, name)
		if err == nil && taken(link) {
			err = fmt.Errorf("%s NIC %q: %s has a role already", role, name, link)
		}
		if err != nil {
			errs = append(errs, err)
			return
		}
		*list = append(*list, Assignment{Name: link, Role: role, Address: address})
	}
	unnamed := func(role Role) {
		if slices.ContainsFunc(found, func(a Assignment) bool { return a.Role == role }) {
			return
		}
		for _, n := range nics {
			if !taken(n.name) {
				found = append(found, Assignment{Name: n.name, Role: role})
				return
			}
		}
	}
	if want.Primary != "" {
		named(&found, RolePrimary, want.Primary, netip.Prefix{})
	}
	if want.Bridge != "" {
		named(&found, RoleBridge, want.Bridge, netip.Prefix{})
	}
	for _, f := range want.Further {
		named(&further, f.Role, f.NIC, f.Address)
	}
	unnamed(RolePrimary)
	unnamed(RoleBridge)
	slices.SortStableFunc(found, func(a, b Assignment) int { return -strings.Compare(string(a.Role), string(b.Role)) })
	return append(found, further...), errors.Join(errs...)
}

// Bridge is the name of the bridge NIC among those assigned; empty where there
// is none.
func Bridge(assigned []Assignment) string {
	for _, a := range assigned {
		if a.Role == RoleBridge {
			return a.Name
		}
	}
	return ""
}

type nicID struct {
	name, mac string
}

// listNICs returns the links in dir that have a device, in natural order.
func listNICs(dir string) ([]nicID, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var nics []nicID
	for _, e := range entries {
		link := filepath.Join(dir, e.Name())
		if _, err := os.Lstat(filepath.Join(link, "device")); err != nil {
			continue
		}
		// A NIC without a readable address can still be named by its link.
		mac, _ := os.ReadFile(filepath.Join(link, "address"))
		nics = append(nics, nicID{e.Name(), strings.TrimSpace(string(mac))})
	}
	slices.SortFunc(nics, func(a, b nicID) int { return compareNatural(a.name, b.name) })
	return nics, nil
}

func findNamed(nics []nicID, role Role, name string) (string, error) {
	var there []string
	for _, n := range nics {
		if n.name == name || n.mac != "" && strings.EqualFold(n.mac, name) {
			return n.name, nil
		}
		there = append(there, n.name+" ("+n.mac+")")
	}
	if len(there) == 0 {
		return "", fmt.Errorf("%s NIC %q: not found, there is no NIC", role, name)
	}
	return "", fmt.Errorf("%s NIC %q: not found, there are %s", role, name, strings.Join(there, ", "))
}

// compareNatural orders names by their runs of digits as numbers and by the
// text between them.
func compareNatural(a, b string) int {
	for a != "" && b != "" {
		da, db := digits(a), digits(b)
		if da == "" || db == "" {
			if a[0] != b[0] {
				return int(a[0]) - int(b[0])
			}
			a, b = a[1:], b[1:]
			continue
		}
		na, nb := strings.TrimLeft(da, "0"), strings.TrimLeft(db, "0")
		if len(na) != len(nb) {
			return len(na) - len(nb)
		}
		if na != nb {
			return strings.Compare(na, nb)
		}
		if len(da) != len(db) {
			return len(da) - len(db)
		}
		a, b = a[len(da):], b[len(db):]
	}
	return len(a) - len(b)
}

// digits returns the run of digits that s begins with.
func digits(s string) string {
	return s[:len(s)-len(strings.TrimLeft(s, "0123456789"))]
}
