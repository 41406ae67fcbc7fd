package netd

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"sort"
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
	// Primary and Bridge name a NIC each, which then is the only one that can
	// have the role; empty leaves the choice to the order of the NICs.
	Primary string
	Bridge  string
	// Further are the roles of other NICs.
	Further []Further
}

// Further is the role of a NIC that is neither primary nor bridge.
type Further struct {
	NIC  string
	Role Role
	// Address is that of RoleStatic, with the length of its subnet's prefix.
	Address netip.Prefix
}

// Assignment is the role of a NIC that is there, by its link name.
type Assignment struct {
	Name    string
	Role    Role
	Address netip.Prefix // of RoleStatic
}

// FindRoles gives the NICs in the sysfs mounted at sys their roles. A NIC is a
// link with a device behind it. Where the primary or bridge one is not named, it
// is the first NIC without a role, eth2 before eth10; where one is named, the role
// is for no other. The assignments, primary and bridge first, can be used even
// where the error, which says what was not found and what there is, is not nil.
func FindRoles(sys string, want Roles) ([]Assignment, error) {
	return want.posts().fill(sys)
}

// post is a role to be filled. It is kept for the NIC that filled it last, also
// while that is gone.
type post struct {
	role    Role
	address netip.Prefix // of RoleStatic
	// name is what the host calls the NIC, or the link name that it had last;
	// empty where any will do.
	name string
	// mac tells the NIC that filled it, whatever its name; empty where it has none.
	mac string
	nic *nic // that fills it now
}

type posts []post

// posts are the roles that r is about, primary and bridge first.
func (r Roles) posts() posts {
	all := posts{{role: RolePrimary, name: r.Primary}, {role: RoleBridge, name: r.Bridge}}
	for _, f := range r.Further {
		all = append(all, post{role: f.Role, name: f.NIC, address: f.Address})
	}
	return all
}

// restore has the NICs of the last Run keep the roles that any could have.
func (ps posts) restore(before Report) {
	for i := range ps {
		p := &ps[i]
		if n := before.withRole(p.role); n != nil && p.name == "" {
			p.name, p.mac = n.Name, n.MAC
		}
	}
}

// fill finds a NIC for each post: first the one that had it, then the one that is
// called so, which may be another in its place, and last any that is left.
func (ps posts) fill(sys string) ([]Assignment, error) {
	nics, err := listNICs(sys)
	if err != nil {
		return nil, fmt.Errorf("find NICs: %w", err)
	}
	for i := range ps {
		p := &ps[i]
		p.nic = nil
		p.take(nics, func(n *nic) bool { return n.mac != "" && n.mac == p.mac })
	}
	var errs []error
	for i := range ps {
		p := &ps[i]
		if p.nic == nil && p.name != "" && !p.take(nics, func(n *nic) bool { return n.isCalled(p.name) }) {
			errs = append(errs, p.notFound(nics))
		}
	}
	var found []Assignment
	for i := range ps {
		p := &ps[i]
		if p.nic != nil || p.name == "" && p.take(nics, func(*nic) bool { return true }) {
			found = append(found, Assignment{Name: p.nic.name, Role: p.role, Address: p.address})
		}
	}
	return found, errors.Join(errs...)
}

// take fills p with the first NIC without a post that suits, if there is one.
func (p *post) take(nics []nic, suits func(*nic) bool) bool {
	for i := range nics {
		n := &nics[i]
		if n.post != nil || !suits(n) {
			continue
		}
		n.post, p.nic, p.mac = p, n, n.mac
		if n.mac == "" || !strings.EqualFold(p.name, n.mac) { // else the host means that one alone
			p.name = n.name
		}
		return true
	}
	return false
}

// notFound says why no NIC fills p, and which there are.
func (p *post) notFound(nics []nic) error {
	var there []string
	for _, n := range nics {
		if n.isCalled(p.name) {
			return fmt.Errorf("%s NIC %q: %s has a role already", p.role, p.name, n.name)
		}
		there = append(there, n.name+" ("+n.mac+")")
	}
	if len(there) == 0 {
		return fmt.Errorf("%s NIC %q: not found, there is no NIC", p.role, p.name)
	}
	return fmt.Errorf("%s NIC %q: not found, there are %s", p.role, p.name, strings.Join(there, ", "))
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

// nic is a NIC that is there.
type nic struct {
	name, mac string // the MAC address may be empty
	post      *post
}

func (n *nic) isCalled(name string) bool {
	return n.name == name || n.mac != "" && strings.EqualFold(n.mac, name)
}

// isNIC reports whether the link of that name has a device.
func isNIC(sys, name string) bool {
	_, err := os.Lstat(filepath.Join(sys, "class/net", name, "device"))
	return err == nil
}

// listNICs returns the NICs in natural order.
func listNICs(sys string) ([]nic, error) {
	dir := filepath.Join(sys, "class/net")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var nics []nic
	for _, e := range entries {
		if !isNIC(sys, e.Name()) {
			continue
		}
		// A NIC without a readable address can still be named by its link; of one
		// that has none yet, its device comes first.
		text, err := os.ReadFile(filepath.Join(dir, e.Name(), "address"))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		mac := strings.TrimSpace(string(text))
		if strings.Trim(mac, "0:") == "" {
			mac = "" // as of links that have none
		}
		nics = append(nics, nic{name: e.Name(), mac: mac})
	}
	// Each type that slices sorts is 10 KB in the image; sort has one piece of code for all.
	sort.Slice(nics, func(i, j int) bool { return compareNatural(nics[i].name, nics[j].name) < 0 })
	return nics, nil
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
