package netd

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"github.com/arcinit/arcinit/internal/kernelfile"
	"github.com/maruel/natural"
)

// Role is what a NIC is for.
type Role string

const (
	RolePrimary     Role = "primary"       // for the guest's own traffic; has the default route
	RoleBridge      Role = "bridge"        // on which the host reaches containers; answers ARP for them
	RoleDHCP        Role = "dhcp"          // has a lease with its routes, but no default route
	RoleDHCPNoRoute Role = "dhcp-no-route" // has a lease's address only
	RoleStatic      Role = "static"        // has an address from the configuration
	RoleOff         Role = "off"           // stays down
)

// takesRoutes reports whether a NIC of that role gets the routes of its lease.
func (r Role) takesRoutes() bool { return r == RolePrimary || r == RoleDHCP }

// Roles is the configuration of the NICs' roles. A NIC is named by its link name or by its MAC address, in upper or lower case.
type Roles struct {
	// Primary and Bridge name the only NIC that can have the role. If empty, the first NIC without a role has it.
	Primary string `json:"primary,omitempty"`
	Bridge  string `json:"bridge,omitempty"`
	// Further are the roles of other NICs.
	Further []Further `json:"further,omitempty"`
}

// Further is the role of a NIC that is neither primary nor bridge.
type Further struct {
	NIC  string `json:"nic"`
	Role Role   `json:"role"`
	// Address is RoleStatic's address, with the prefix length of its subnet.
	Address netip.Prefix `json:"address,omitzero"`
}

// assignment is the role of an existing NIC, by link name.
type assignment struct {
	Name    string
	Role    Role
	Address netip.Prefix // of RoleStatic
}

// slot is a role for one NIC. The NIC that has had the role keeps it, even while the NIC is gone.
type slot struct {
	role    Role
	address netip.Prefix // of RoleStatic
	// name is the NIC's link name or MAC address in the configuration, or the link name that the NIC had last. If empty, any NIC will do.
	name string
	mac  string // of the NIC that had the role last, if any
}

type slots []slot

// slots returns a slot for each configured role, primary and bridge first.
func (r Roles) slots() slots {
	all := slots{{role: RolePrimary, name: r.Primary}, {role: RoleBridge, name: r.Bridge}}
	for _, f := range r.Further {
		all = append(all, slot{role: f.Role, name: f.NIC, address: f.Address})
	}
	return all
}

// restore reserves the roles that any NIC could have for the last Run's NICs.
func (ss slots) restore(before Report) {
	for i := range ss {
		s := &ss[i]
		if n := before.withRole(s.role); s.name == "" {
			s.name, s.mac = n.Name, n.MAC
		}
	}
}

// assign finds a NIC for each slot in the sysfs that is mounted at sys: first the NIC that had the role, by MAC
// address; then a NIC with the right name, which may have replaced the other; and last the first NIC that is left, eth2
// before eth10. Assignments are valid even with an error, which names the NICs that were not found.
func (ss slots) assign(sys string) ([]assignment, error) {
	nics := listNICs(sys)
	found := make([]*nic, len(ss))
	for _, suits := range []func(slot, nic) bool{
		func(s slot, n nic) bool { return n.mac != "" && n.mac == s.mac },
		func(s slot, n nic) bool { return n.name == s.name || n.mac != "" && strings.EqualFold(n.mac, s.name) },
		func(s slot, _ nic) bool { return s.name == "" },
	} {
		for i := range ss {
			s := &ss[i]
			at := slices.IndexFunc(nics, func(n nic) bool { return !n.hasRole && suits(*s, n) })
			if found[i] != nil || at < 0 {
				continue
			}
			n := &nics[at]
			found[i], n.hasRole, s.mac = n, true, n.mac
			if n.mac == "" || !strings.EqualFold(s.name, n.mac) { // a configured MAC address stays
				s.name = n.name
			}
		}
	}
	var assigned []assignment
	var errs []error
	for i, s := range ss {
		switch n := found[i]; {
		case n != nil:
			assigned = append(assigned, assignment{Name: n.name, Role: s.role, Address: s.address})
		case s.name != "":
			errs = append(errs, fmt.Errorf("%s NIC %q: not among %v, or has another role", s.role, s.name, nics))
		}
	}
	return assigned, errors.Join(errs...)
}

// nic is an existing NIC.
type nic struct {
	name, mac string // mac may be empty
	hasRole   bool
}

func (n nic) String() string { return n.name + " (" + n.mac + ")" }

// isNIC reports whether the link of that name has a device and so is a NIC, and not one of those behind virtio's failover:
// their master has a device, too (Documentation/networking/net_failover.rst).
func isNIC(sys, name string) bool {
	_, err := os.Lstat(filepath.Join(sys, "class/net", name, "device"))
	_, errMaster := os.Lstat(filepath.Join(sys, "class/net", name, "master/device"))
	return err == nil && errMaster != nil
}

// listNICs returns the NICs in natural order.
func listNICs(sys string) (nics []nic) {
	links, _ := os.ReadDir(filepath.Join(sys, "class/net")) // without sysfs there is none
	for _, link := range links {
		// sysfs makes the device link before the address file, so a NIC without the
		// file is not complete. An address that cannot be read is no obstacle.
		mac, err := kernelfile.Read(filepath.Join(sys, "class/net", link.Name(), "address"))
		if errors.Is(err, fs.ErrNotExist) || !isNIC(sys, link.Name()) {
			continue
		}
		if strings.Trim(mac, "0:") == "" {
			mac = "" // a link without a MAC address
		}
		nics = append(nics, nic{name: link.Name(), mac: mac})
	}
	// sort.Slice has one implementation for all types. slices.SortFunc adds 10 KB to the image for each type.
	sort.Slice(nics, func(i, j int) bool { return natural.Less(nics[i].name, nics[j].name) })
	return nics
}
