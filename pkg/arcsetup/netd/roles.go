package netd

import (
	"errors"
	"fmt"
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
)

// Roles says which NIC has which role, by link name; empty where there is none.
type Roles struct {
	Primary, Bridge string
}

// FindRoles gives the NICs in the sysfs mounted at sys their roles. A NIC is a
// link with a device behind it. primary and bridge name one by link name or MAC
// address, upper or lower case; an empty name, or one that no NIC has, takes the
// first NIC without a role, eth2 before eth10. The Roles are usable even where
// the error, which names what was not found and what there is, is not nil.
func FindRoles(sys, primary, bridge string) (Roles, error) {
	nics, err := listNICs(filepath.Join(sys, "class/net"))
	if err != nil {
		return Roles{}, fmt.Errorf("find NICs: %w", err)
	}
	p, errPrimary := findNamed(nics, RolePrimary, primary)
	b, errBridge := findNamed(nics, RoleBridge, bridge)
	if b != "" && b == p {
		b, errBridge = "", fmt.Errorf("bridge NIC %q: %s is the primary one", bridge, b)
	}
	if p == "" {
		p = firstExcept(nics, b)
	}
	if b == "" {
		b = firstExcept(nics, p)
	}
	return Roles{Primary: p, Bridge: b}, errors.Join(errPrimary, errBridge)
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
	if name == "" {
		return "", nil
	}
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

func firstExcept(nics []nicID, taken string) string {
	for _, n := range nics {
		if n.name != taken {
			return n.name
		}
	}
	return ""
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
